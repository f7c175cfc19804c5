"""The page's script: tables sort by their headers, lists are filtered. All is there without it."""

JAVASCRIPT = """
"use strict";
function value(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value === undefined) return cell.textContent;
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}
function compare(a, b) {
  return typeof a === "string" ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
}
function sort(table, header) {
  const column = header.cellIndex, body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const isNumber = rows.some(row => row.cells[column].dataset.value !== undefined);
  // Numbers begin with the largest, names with A.
  const now = header.getAttribute("aria-sort");
  const order = now ? (now === "ascending" ? "descending" : "ascending")
    : isNumber ? "descending" : "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  rows.sort((a, b) => {
    const x = value(a, column), y = value(b, column);
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * compare(x, y);
  });
  body.append(...rows);
}
for (const table of document.querySelectorAll("table.sortable")) {
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sort(table, button.closest("th")));
  }
}
function passes(item, control) {
  const wanted = control.value.trim();
  if (!wanted) return true;
  if (control.dataset.key === undefined) {
    return item.textContent.toLowerCase().includes(wanted.toLowerCase());
  }
  return item.dataset[control.dataset.key].split(" ").includes(wanted);
}
for (const box of document.querySelectorAll(".controls")) {
  const list = document.getElementById(box.dataset.filters);
  const items = Array.from(list.tBodies ? list.tBodies[0].rows : list.children);
  const controls = Array.from(box.querySelectorAll("input, select"));
  const shown = box.querySelector("output");
  const filter = () => {
    for (const item of items) item.hidden = !controls.every(one => passes(item, one));
    shown.textContent = items.filter(one => !one.hidden).length + " of " + items.length;
  };
  for (const control of controls) control.addEventListener("input", filter);
  box.hidden = false;
  filter();
}
"""
