"""Experiments that can fail: what the method claims, on clips whose truth is known."""
