// Tables of class "sortable": a click, or Enter on a focused heading, sorts by that column; numbers begin with the largest.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const text = head.classList.contains("text");
    const ascending = head.ariaSort ? head.ariaSort === "descending" : text;
    const value = (row) => text ? row.cells[column].textContent : Number(row.cells[column].dataset.value);
    const order = text ? (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true }) : (a, b) => value(a) - value(b);
    body.append(...[...body.rows].sort((a, b) => (ascending ? 1 : -1) * order(a, b)));
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  }));
}
