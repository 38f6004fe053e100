// The pictures on which a setting loses most, worst first.
page.losses = (() => {
  const lists = page.data.losses;
  const select = page.byId("losing");
  if (!lists?.length || !select) return null;
  const SHORT = 8; // lines before the reader asks for more
  const more = page.byId("lost-more");
  let whole = false;

  const cell = (text, value) => {
    const made = page.make("td", {}, text);
    if (value !== undefined) made.dataset.value = value;
    return made;
  };

  function name(loss, row) {
    if (loss.image === null || !page.viewer) return loss.name;
    const link = page.make("button", { type: "button", className: "link", textContent: loss.name });
    link.addEventListener("click", () => page.viewer.open(loss.image, row));
    return link;
  }

  function line(loss, row) {
    const which = Object.entries(loss.what).map(([what, count]) =>
      count > 1 ? `${what} ×${count}` : what,
    );
    return page.make(
      "tr",
      {},
      cell(name(loss, row)),
      cell(loss.lost),
      cell(loss.before),
      cell(loss.bpp.toFixed(3)),
      cell(loss.psnr === null ? "–" : loss.psnr.toFixed(1)),
      cell(which.join(", ")),
    );
  }

  function draw() {
    const list = lists.find(({ row }) => String(row) === select.value);
    const share = list.before ? ` (${((100 * list.lost) / list.before).toFixed(0)} %)` : "";
    page.byId("lost-in-all").textContent =
      `loses ${list.lost} of ${list.before} objects${share}, in ${list.pictures} pictures`;
    page
      .byId("lost")
      .replaceChildren(
        ...list.worst.slice(0, whole ? undefined : SHORT).map((loss) => line(loss, list.row)),
      );
    more.hidden = list.worst.length <= SHORT;
    more.textContent = whole ? "Show fewer" : `Show ${list.worst.length}`;
  }

  lists.forEach(({ row }) =>
    select.append(page.make("option", { value: row, textContent: page.data.settings[row].title })),
  );
  const first = page.viewer?.firstShown() ?? lists[lists.length - 1].row;
  select.value = lists.some(({ row }) => row === first) ? first : lists[0].row;
  select.addEventListener("change", draw);
  more.addEventListener("click", () => {
    whole = !whole;
    draw();
  });
  draw();
  return { draw };
})();
