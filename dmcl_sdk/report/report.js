"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const film = by("film"), boxes = by("boxes"), say = by("say");
  const cards = [...document.querySelectorAll(".finding")];
  const heads = [...document.querySelectorAll(".playhead")];
  const slider = by("seek");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let current = -1, looping = false;

  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10), minutes = Math.floor(tenths / 600);
    const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
    const hours = Math.floor(minutes / 60);
    return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  };

  /* A face's box at a time: between two sightings it moves evenly, across a gap there is none. */
  const boxAt = (at, ms) => {
    let low = 0, high = at.length - 1;
    if (high < 0 || ms < at[0][0] - 1 || ms > at[high][0] + 300) return null;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (at[middle][0] <= ms) low = middle; else high = middle - 1;
    }
    const a = at[low], b = at[low + 1];
    if (!b) return a.slice(1);
    if (b[0] - a[0] > Math.max(700, data.duration)) return ms - a[0] > 300 ? null : a.slice(1);
    const share = (ms - a[0]) / (b[0] - a[0]);
    return [1, 2, 3, 4].map((n) => a[n] + share * (b[n] - a[n]));
  };

  const rects = boxes ? data.boxes.map((face) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("rx", "60");
    if (face.flagged) rect.classList.add("flagged");
    boxes.append(rect);
    return rect;
  }) : [];

  const draw = () => {
    const now = film ? film.currentTime : 0;
    rects.forEach((rect, n) => {
      const box = boxAt(data.boxes[n].at, now * 1000);
      rect.setAttribute("visibility", box ? "visible" : "hidden");
      if (box) ["x", "y", "width", "height"].forEach((side, k) => rect.setAttribute(side, box[k]));
    });
    const left = data.duration ? `${Math.min(100, (100 * now) / data.duration)}%` : "0";
    heads.forEach((head) => { head.style.left = left; });
    if (by("time")) by("time").textContent = `${clock(now)} / ${clock(data.duration)}`;
    if (slider) { slider.value = now; slider.setAttribute("aria-valuetext", clock(now)); }
  };

  const seek = (seconds) => {
    if (!film) return;
    film.currentTime = Math.min(Math.max(0, seconds), Math.max(0, data.duration - 0.001));
    draw();
  };

  const step = (seconds) => { seek(film.currentTime + seconds); say.textContent = clock(film.currentTime); };

  const frame = (count) => { film.pause(); step(count / data.rate); };

  const choose = (n) => {
    if (!cards.length) return;
    current = (n + cards.length) % cards.length;
    const span = data.spans[current];
    cards.forEach((card, k) => card.classList.toggle("current", k === current));
    cards[current].scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
    seek(span.start);
    say.textContent = `Span ${current + 1} of ${cards.length}, ${clock(span.start)} to ${clock(span.end)}, face ${span.face}`;
  };

  const play = () => { if (film) { if (film.paused) film.play().catch(() => {}); else film.pause(); } };

  const veil = (on) => {
    document.body.classList.toggle("veiled", on);
    if (film) film.muted = on;
    const button = by("reveal");
    if (button) { button.setAttribute("aria-pressed", String(!on)); button.textContent = on ? "Reveal" : "Hide"; }
    say.textContent = on ? "Hidden" : "Revealed";
  };

  const loop = (on) => {
    looping = on && cards.length > 0;
    if (looping && current < 0) choose(0);
    if (by("loop")) by("loop").setAttribute("aria-pressed", String(looping));
  };

  const slow = (on) => {
    if (!film) return;
    film.playbackRate = on ? 0.25 : 1;
    by("slow").setAttribute("aria-pressed", String(on));
  };

  /* Before a span is chosen, next and previous go by where the video stands. */
  const next = () => choose(current >= 0 ? current + 1 : Math.max(0, data.spans.findIndex((s) => s.end > (film ? film.currentTime : 0))));
  const previous = () => choose(current >= 0 ? current - 1 : cards.length - 1);
  const strongest = () => choose(data.spans.reduce((best, span, n) => (span.probability > data.spans[best].probability ? n : best), 0));
  const press = (id, action) => { if (by(id)) by(id).addEventListener("click", action); };

  press("play", play);
  press("next", next);
  press("previous", previous);
  press("strongest", strongest);
  press("loop", () => loop(!looping));
  press("slow", () => slow(film.playbackRate === 1));
  press("reveal", () => veil(!document.body.classList.contains("veiled")));
  document.querySelectorAll(".seek").forEach((button) => {
    button.addEventListener("click", () => choose(Number(button.dataset.span)));
  });
  document.querySelectorAll(".plots").forEach((plot) => {
    plot.addEventListener("click", (event) => {
      const area = plot.getBoundingClientRect();
      const at = ((event.clientX - area.left) / area.width) * data.duration;
      const inside = data.spans.findIndex((span) => at >= span.start && at < span.end);
      if (inside >= 0) { current = inside; cards.forEach((card, k) => card.classList.toggle("current", k === inside)); }
      seek(at);
    });
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target, letters = by("keys-on");
    if (event.key === " " && /^(BUTTON|SUMMARY|A|INPUT)$/.test(on.tagName) && on !== slider) return; /* space presses what has the focus */
    if (event.key.length === 1 && event.key !== " " && letters && !letters.checked) return;
    const seconds = event.shiftKey ? 5 : 1;
    const actions = {
      n: next, p: previous, m: strongest, r: () => veil(!document.body.classList.contains("veiled")), l: () => loop(!looping), " ": play,
      s: () => slow(film.playbackRate === 1), ArrowLeft: () => step(-seconds), ArrowRight: () => step(seconds),
      ",": () => frame(-1), ".": () => frame(1),
    };
    const needsFilm = [" ", "s", "ArrowLeft", "ArrowRight", ",", "."].includes(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || (needsFilm && !film)) return;
    event.preventDefault();
    action();
  });

  if (film) {
    slider.addEventListener("input", () => seek(Number(slider.value)));
    const tick = () => {
      if (looping && current >= 0 && film.currentTime >= data.spans[current].end) seek(data.spans[current].start);
      draw();
      if (!film.paused) requestAnimationFrame(tick);
    };
    film.addEventListener("play", () => { by("play").textContent = "Pause"; requestAnimationFrame(tick); });
    film.addEventListener("pause", () => { by("play").textContent = "Play"; });
    ["seeked", "timeupdate", "loadeddata"].forEach((kind) => film.addEventListener(kind, draw));
    film.addEventListener("error", () => { by("film-error").hidden = false; });
    if (film.error) by("film-error").hidden = false;
  }
  draw();
})();
