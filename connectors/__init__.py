"""Carries videos in and verdicts out: message brokers, object stores, moderation queues."""
