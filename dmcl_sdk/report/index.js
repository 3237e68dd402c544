"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const body = document.querySelector("tbody"), rows = [...body.rows];

  const filter = () => {
    const text = by("text").value.toLowerCase(), label = by("label").value;
    let shown = 0;
    rows.forEach((row) => {
      const fits = row.cells[0].dataset.value.toLowerCase().includes(text) && (!label || row.dataset.label === label);
      row.hidden = !fits;
      shown += fits;
    });
    by("say").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} videos shown`;
  };

  const sort = (column, falling) => {
    const value = (row) => row.cells[column].dataset.value;
    const compare = column < 2
      ? (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true })
      : (a, b) => Number(value(a)) - Number(value(b));
    rows.sort((a, b) => (falling ? compare(b, a) : compare(a, b)));
    body.append(...rows);
  };

  by("text").addEventListener("input", filter);
  by("label").addEventListener("change", filter);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  document.querySelectorAll("th button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.parentElement, column = Number(button.dataset.column);
      /* figures fall first: the worst is looked for */
      const falling = head.ariaSort ? head.ariaSort === "ascending" : column >= 2;
      document.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      sort(column, falling);
    });
  });
})();
