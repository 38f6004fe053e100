// Tables that a click on a head sorts, and a second click the other way round.
page.tables = (() => {
  /** Numbers by size, then text by the alphabet, then what is missing. */
  function compare(a, b) {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const [x, y] = [Number(a), Number(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b, "en", { numeric: true });
  }

  function sort(table, column, falls) {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    const missing = (row) => value(row) === undefined;
    const rows = [...body.rows].sort((a, b) => {
      const order = compare(value(a), value(b));
      return falls && !missing(a) && !missing(b) ? -order : order;
    });
    body.append(...rows);
  }

  page.all("table").forEach((table) => {
    const heads = page.all("thead th", table);
    heads.forEach((head, column) => {
      head.querySelector("button")?.addEventListener("click", () => {
        const falls = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falls ? "descending" : "ascending");
        sort(table, column, falls);
      });
    });
  });
  return { sort };
})();
