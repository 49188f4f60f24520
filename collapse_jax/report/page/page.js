
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("numbers").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const finite = (x) => (typeof x === "number" ? x : null);
  const shown = (x) => (typeof x === "number" ? Number(x.toPrecision(4)).toString() : x);

  // Curves are told apart by a mark as well as by their colour.
  const shapes = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross"];
  const glyphs = ["\u25CF", "\u25A0", "\u25C6", "\u25B2", "\u25BC", "\u271A"];
  // Which of n generations are marked: all of few, else six, at other places for each curve.
  const marked = (n, i, count) => new Set(n <= 12 ? [...Array(n).keys()]
    : [...Array(6).keys()].map((k) => Math.round(n ** ((k + i / count) / 6)) - 1));

  // The colour, moved towards white or black until it stands out from the page.
  function visible(colour) {
    let rgb = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255);
    const light = (c) => c.map((x) => (x <= 0.04 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
      .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
    const back = dark.matches ? 0.014 : 0.92, target = dark.matches ? 1 : 0;
    const contrast = (c) => {
      const [a, b] = [light(c), back].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    };
    for (let i = 0; i < 20 && contrast(rgb) < 3.2; i++) rgb = rgb.map((x) => x + 0.1 * (target - x));
    return "#" + rgb.map((x) => Math.round(255 * x).toString(16).padStart(2, "0")).join("");
  }

  class Study {
    constructor(root) {
      this.root = root;
      this.all = page.studies[Number(root.dataset.study)];
      this.views = new Map();
      this.form = root.querySelector("form");
      this.form.addEventListener("submit", (event) => event.preventDefault());
      this.form.addEventListener("input", () => this.draw());
      root.querySelectorAll("figure[data-metric] details").forEach((details) =>
        details.addEventListener("toggle", () => this.tabulate(details.closest("figure"))));
      dark.addEventListener("change", () => this.draw());
      this.draw();
    }
    on(kind, value) {
      const box = this.form.querySelector(`input[data-kind=${kind}][value="${value}"]`);
      return box !== null && box.checked;
    }
    choice(kind) { return this.form.querySelector(`select[data-kind=${kind}]`).value; }
    cell() {
      let place = 0;
      this.form.querySelectorAll("input[data-kind=axis]").forEach((bar) => {
        const axis = this.all.axes[Number(bar.dataset.axis)], text = String(axis.values[bar.value]);
        place = place * axis.values.length + Number(bar.value);
        bar.setAttribute("aria-valuetext", text);
        bar.closest("label").querySelector("output").textContent = text;
      });
      return this.all.cells[place];
    }
    curves(name) {
      return this.cell().map((run, i) => ({ i, run, of: run.of[name], ...this.all.curves[i] }))
        .filter((curve) => curve.of !== undefined && this.on("curve", curve.i));
    }
    centre(metric) {
      const wanted = this.choice("centre");
      return wanted === "automatic" ? (metric.median ? "median" : "mean") : wanted;
    }
    draw() {
      this.form.querySelectorAll(".swatch").forEach((swatch, i) => {
        swatch.style.color = visible(this.all.curves[i].colour);
        swatch.textContent = `\u2014${glyphs[i % glyphs.length]}\u2014`;
      });
      this.cell();
      this.root.querySelectorAll("figure[data-metric]").forEach((figure) => {
        figure.hidden = !this.on("metric", figure.dataset.metric);
        if (!figure.hidden) this.panel(figure);
      });
    }
    async panel(figure) {
      const metric = this.all.metrics[Number(figure.dataset.metric)];
      const curves = this.curves(metric.name), centre = this.centre(metric);
      const plot = figure.querySelector(".plot");
      const made = await vegaEmbed(plot, this.spec(metric, curves, centre),
        { actions: false, renderer: "svg", ast: true, tooltip: { theme: dark.matches ? "dark" : "light" } });
      const old = this.views.get(figure);
      if (old && old !== made) old.finalize();
      this.views.set(figure, made);
      const words = curves.map(({ label, of, run }) => {
        const line = of[centre], last = line.length - 1;
        const known = of.theory ? `, theory ${shown(of.theory[last])}` : "";
        return `${label}: ${shown(line[0])} in generation ${run.generation[0]}, ` +
          `${shown(line[last])} in generation ${run.generation[last]}${known}`;
      });
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", `${metric.label}, ${centre} of chains. ${words.join(". ")}.`);
      plot.dataset.curves = String(curves.length);
      plot.querySelectorAll("svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
      this.tabulate(figure);
    }
    tabulate(figure) {
      const place = figure.querySelector(".values");
      if (!figure.querySelector("details").open) return;
      const metric = this.all.metrics[Number(figure.dataset.metric)], centre = this.centre(metric);
      const table = document.createElement("table");
      const add = (row, kind, text, scope) => {
        const cell = row.appendChild(document.createElement(kind));
        cell.textContent = text;
        if (scope) cell.scope = scope;
      };
      const head = table.createTHead().insertRow();
      ["curve", "generation", centre, "10 %", "90 %", "theory"].forEach((t) => add(head, "th", t, "col"));
      const body = table.createTBody();
      this.curves(metric.name).forEach(({ label, run, of }) => run.generation.forEach((g, t) => {
        const row = body.insertRow();
        add(row, "th", label, "row");
        [g, of[centre][t], of.low[t], of.high[t], of.theory ? of.theory[t] : ""]
          .forEach((x) => add(row, "td", String(shown(x))));
      }));
      place.replaceChildren(table);
    }
    spec(metric, curves, centre) {
      const text = dark.matches ? "#e6e6ea" : "#1b1b1f", grid = dark.matches ? "#3b3b45" : "#dcdce4";
      const wanted = this.choice("scale");
      const logY = wanted === "automatic" ? metric.log : wanted === "logarithmic";
      const value = (x) => (finite(x) === null || (logY && x <= 0) ? null : x);
      const places = curves.map(({ run }, i) => marked(run.generation.length, i, curves.length));
      const rows = curves.flatMap(({ i, run, of }, k) => run.generation.map((g, t) => ({
        g, s: `s${i}`, marked: places[k].has(t), y: value(of[centre][t]), low: value(of.low[t]), high: value(of.high[t]),
        known: of.theory ? value(of.theory[t]) : null })));
      const chains = !this.on("view", "chains") ? [] : curves.flatMap(({ i, run, of, label }) =>
        (of.chains || []).flatMap((chain, k) => run.generation.map((g, t) => ({
          g, s: `s${i}`, seed: String(run.seeds[k]), curve: label, y: value(chain[t]) }))));
      const by = new Map();
      curves.forEach(({ i, run, of }) => run.generation.forEach((g, t) => {
        if (!by.has(g)) by.set(g, { g });
        by.get(g)[`s${i}`] = `${shown(of[centre][t])} (${shown(of.low[t])} to ${shown(of.high[t])})` +
          (of.theory ? `, theory ${shown(of.theory[t])}` : "");
      }));
      const scaleY = logY ? { type: "log" } : { type: "linear", zero: false };
      const logX = this.on("view", "logX");
      const x = { field: "g", type: "quantitative", title: "generation",
        scale: logX ? { type: "log", nice: false } : { type: "linear", zero: false, nice: false },
        axis: { tickMinStep: 1, format: "~s", tickCount: 5, labelOverlap: true } };
      const y = (field) => ({ field, type: "quantitative", scale: scaleY, title: null,
        axis: { tickCount: 5, format: "~g", labelOverlap: true } });
      const color = { field: "s", type: "nominal", legend: null,
        scale: { domain: curves.map((c) => `s${c.i}`), range: curves.map((c) => visible(c.colour)) } };
      const line = (field, mark) => ({ data: { values: rows }, mark: { type: "line", ...mark },
        encoding: { x, y: y(field), color } });
      const layer = [];
      if (this.on("view", "band")) layer.push({ data: { values: rows }, mark: { type: "area", opacity: 0.18 },
        encoding: { x, y: y("low"), y2: { field: "high" }, color } });
      if (chains.length) layer.push({ data: { values: chains },
        params: [{ name: "chain", select: { type: "point", fields: ["s", "seed"], on: "pointerover" } }],
        mark: { type: "line", tooltip: true }, encoding: { x, y: y("y"), color, detail: { field: "seed" },
          opacity: { condition: { param: "chain", empty: false, value: 1 }, value: 0.3 },
          strokeWidth: { condition: { param: "chain", empty: false, value: 3 }, value: 1 },
          tooltip: [{ field: "curve", title: "curve" }, { field: "seed", title: "seed" }] } });
      layer.push(line("y", { strokeWidth: 2.6, opacity: 0.75 }));
      layer.push({ data: { values: rows }, transform: [{ filter: "datum.marked" }],
        mark: { type: "point", filled: true, size: 55, opacity: 0.9 },
        encoding: { x, y: y("y"), color, shape: { field: "s", type: "nominal", legend: null,
          scale: { domain: curves.map((c) => `s${c.i}`),
            range: curves.map((c) => shapes[c.i % shapes.length]) } } } });
      if (this.on("view", "theory") && rows.some((row) => row.known !== null))
        layer.push(line("known", { strokeWidth: 1.8, strokeDash: [6, 4] }));
      if (!chains.length) layer.push({ data: { values: [...by.values()] },
        params: [{ name: "at", select: { type: "point", fields: ["g"], nearest: true, on: "pointerover",
          clear: "pointerout" } }],
        mark: { type: "rule", color: text }, encoding: { x,
          opacity: { condition: { param: "at", empty: false, value: 0.5 }, value: 0 },
          tooltip: [{ field: "g", title: "generation" },
            ...curves.map((c) => ({ field: `s${c.i}`, title: c.label }))] } });
      return { width: "container", height: 230, autosize: { type: "fit", contains: "padding" },
        background: "transparent", layer: layer,
        config: { view: { stroke: null }, font: "system-ui, sans-serif",
          axis: { labelColor: text, titleColor: text, gridColor: grid, domainColor: text, tickColor: text,
            labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", gridOpacity: 0.7 } } };
    }
  }
  document.querySelectorAll("article[data-study]").forEach((root) => new Study(root));
})();
