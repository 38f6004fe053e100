// The charts: one legend, one unit of rate and one choice of intervals for all of them.
page.charts = (() => {
  const { curves, figures, levels, pixelsPerImage } = page.data;
  const hidden = new Set();
  let unit = "bpp";
  let bands = true;
  const units = {
    bpp: "bits per pixel, pooled",
    kB: "kB per image",
    bppDetector: "bits per pixel that the detector saw, pooled",
  };
  const choices = page.all("input[name=unit]"); // of the units that all curves have
  const colours = (dark) => ({
    ink: dark ? "#e5e7eb" : "#0f172a",
    soft: dark ? "#9ca3af" : "#64748b",
    grid: dark ? "#2a3140" : "#e8ecf2",
    card: dark ? "#171b24" : "#ffffff",
  });
  const rate = (point) =>
    unit === "kB" ? page.kilobytes(point.bpp, pixelsPerImage) : point[unit];

  function transparent(colour, opacity) {
    const channels = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
    return `rgba(${channels.join(",")},${opacity})`;
  }

  function hover(point, digits, value) {
    const [middle, low, high] = value.map((v) => v.toFixed(digits));
    const size = pixelsPerImage
      ? `, ${page.kilobytes(point.bpp, pixelsPerImage).toFixed(1)} kB an image`
      : "";
    const seen =
      unit === "bppDetector" ? `, ${rate(point).toFixed(3)} bpp that the detector saw` : "";
    const rates = `${point.bpp.toFixed(3)} bpp${size}${seen}`;
    return [`<b>${point.title}</b>`, rates, `${middle} [${low}, ${high}]`].join("<br>");
  }

  function traces(figure, dark) {
    return curves.flatMap((curve, k) => {
      const points = curve.points.filter((point) => point.figures[figure.name]);
      const values = points.map((point) => point.figures[figure.name]);
      const x = points.map(rate);
      const colour = dark ? curve.dark : curve.light;
      const visible = !hidden.has(k);
      const band = {
        x: [...x, ...[...x].reverse()],
        y: [...values.map((v) => v[2]), ...values.map((v) => v[1]).reverse()],
        mode: "lines",
        fill: "toself",
        fillcolor: transparent(colour, 0.07),
        line: { width: 0 },
        hoverinfo: "skip",
        showlegend: false,
        visible: visible && bands,
      };
      const line = {
        x,
        y: values.map((v) => v[0]),
        name: curve.name,
        mode: "lines+markers",
        line: { color: colour, width: 2, dash: curve.dash },
        marker: {
          size: 8,
          symbol: curve.marker + (curve.dash === "solid" ? "" : "-open"),
          line: { width: curve.dash === "solid" ? 0 : 1.5 },
        },
        text: points.map((point, i) => hover(point, figure.digits, values[i])),
        hovertemplate: "%{text}<extra></extra>",
        visible,
      };
      return [band, line];
    });
  }

  function layout(figure, dark) {
    const { ink, soft, grid, card } = colours(dark);
    const level = levels[figure.name];
    const marked = level !== null && level !== undefined;
    const axis = { gridcolor: grid, zeroline: false, linecolor: grid, automargin: true };
    const touched = window.matchMedia("(pointer: coarse)").matches; // a finger scrolls the page
    return {
      height: 300,
      margin: { l: 44, r: 14, t: 10, b: 44 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: soft },
      hoverlabel: {
        bgcolor: card,
        bordercolor: grid,
        font: { color: ink, size: 12 },
        align: "left",
      },
      hovermode: "closest",
      dragmode: touched ? false : "zoom",
      showlegend: false,
      xaxis: {
        ...axis,
        title: { text: units[unit], font: { size: 12 }, standoff: 8 },
        type: "log",
        dtick: "D2",
        tickformat: "~g",
        minorloglabels: "none",
        fixedrange: touched,
      },
      yaxis: { ...axis, fixedrange: touched },
      shapes: marked
        ? [
            {
              type: "line",
              xref: "paper",
              x0: 0,
              x1: 1,
              y0: level,
              y1: level,
              line: { dash: "dash", color: soft, width: 1 },
            },
          ]
        : [],
      annotations: marked
        ? [
            {
              xref: "paper",
              x: 0,
              xanchor: "left",
              y: level,
              yanchor: "bottom",
              showarrow: false,
              text: `uncompressed ${level.toFixed(figure.digits)}`,
              font: { size: 11, color: soft },
            },
          ]
        : [],
    };
  }

  const plotOf = (figure) => page.byId(`plot-${figure.name}`);

  function draw() {
    if (!window.Plotly) return;
    const dark = page.theme.isDark();
    for (const figure of figures) {
      window.Plotly.react(plotOf(figure), traces(figure, dark), layout(figure, dark), {
        displayModeBar: false,
        responsive: true,
      });
    }
  }

  /** Save a chart with its title and legend, dark on light. */
  function save(figure) {
    const drawn = {
      data: traces(figure, false),
      layout: {
        ...layout(figure, false),
        title: {
          text: `<b>${figure.title}</b>`,
          font: { size: 16, color: colours(false).ink },
          x: 0.02,
        },
        showlegend: true,
        legend: { orientation: "h", y: -0.25 },
        margin: { l: 60, r: 20, t: 50, b: 60 },
        paper_bgcolor: "#ffffff",
      },
    };
    return window.Plotly.downloadImage(drawn, {
      format: "svg",
      width: 720,
      height: 500,
      filename: figure.name,
    });
  }

  const buttons = page.all("[data-curve]");

  function show(changed) {
    changed();
    buttons.forEach((button) =>
      button.setAttribute("aria-pressed", !hidden.has(+button.dataset.curve)),
    );
    draw();
  }

  function toggle(k) {
    show(() => (hidden.has(k) ? hidden.delete(k) : hidden.add(k)));
  }

  /** Show one curve alone, or all again. */
  function isolate(k) {
    const alone = curves.every((_, other) => hidden.has(other) === (other !== k));
    show(() => {
      hidden.clear();
      if (!alone) curves.forEach((_, other) => other !== k && hidden.add(other));
    });
  }

  function setUnit(wanted) {
    unit = wanted;
    choices.forEach((input) => (input.checked = input.value === unit));
    draw();
  }

  function nextUnit() {
    const names = choices.map((input) => input.value);
    if (names.length) setUnit(names[(names.indexOf(unit) + 1) % names.length]);
  }

  async function unpackPlotly() {
    const packed = Uint8Array.from(atob(page.byId("plotly").textContent), (c) => c.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(page.make("script", { textContent: await new Response(plain).text() }));
  }

  if (page.byId("charts")) {
    buttons.forEach((button) => {
      button.addEventListener("click", (event) => {
        const k = +button.dataset.curve;
        if (event.detail === 2) toggle(k); // take the first click back
        if (event.shiftKey || event.detail === 2) isolate(k);
        else toggle(k);
      });
    });
    choices.forEach((input) => input.addEventListener("change", () => setUnit(input.value)));
    page.byId("bands").addEventListener("change", (event) => {
      bands = event.target.checked;
      draw();
    });
    figures.forEach((figure) =>
      document
        .querySelector(`[data-save="${figure.name}"]`)
        .addEventListener("click", () => save(figure)),
    );
    page.theme.onChange(draw);
    // the sentence and the tables are there first
    window.addEventListener("load", () =>
      unpackPlotly().then(draw, () => {
        page.byId("charts").prepend("The charts need a browser of 2023 or later.");
      }),
    );
  }
  return { toggle, isolate, nextUnit };
})();
