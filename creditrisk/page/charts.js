// How a chart is made: a figure with its title, one sentence on how to read it, the plot, and the same figures as a table.
const SYMBOL = { ROJO: "triangle-up", AMARILLO: "diamond", VERDE: "circle", SIN_DATOS: "circle-open" };
const GREY = "#aab4bf",
  BLUE = "#0072b2",
  INK = "#16202b",
  ORANGE = "#e69f00",
  RED = "#b42318",
  FAINT = "#eceff2";
const drawings = new Map(); // id of a plot -> what draws it

function figure(id, title, hint, draw, table = null) {
  drawings.set(id, draw);
  const caption = title ? el("figcaption", {}, el("h3", {}, title), hint ? el("p", { class: "hint" }, hint) : null) : null;
  const told = [title, hint].filter(Boolean).join(". ") || id;
  return el(
    "figure",
    {},
    caption,
    el("div", { id, class: "plot", role: "img", "aria-label": told }, el("p", { class: "wait" }, t().drawing)),
    table && folded(t().figures, () => grid(...table())),
  );
}

// what is made only when someone opens it
function folded(title, make) {
  const open = (e) => {
    if (e.target.open && e.target.children.length === 1) e.target.append(make());
  };
  return el("details", { class: "numbers", ontoggle: open }, el("summary", {}, title));
}

const narrow = () => matchMedia("(max-width: 760px)").matches,
  size = () => (narrow() ? 11 : 12.5); // of letters in plots

// Plotly reads links and bold type in texts; a lender's names are names
const plain = (x) => (typeof x === "string" ? x.replace(/&/g, "&amp;").replace(/</g, "&lt;") : Array.isArray(x) ? x.map(plain) : x);
const plainly = (given, keys) => ({ ...given, ...Object.fromEntries(keys.filter((key) => key in given).map((key) => [key, plain(given[key])])) });

function axis(given, touch, more = {}) {
  const title = given.title && { title: { font: { size: size() }, text: plain(given.title.text), standoff: given.title.standoff } };
  return {
    gridcolor: FAINT,
    zeroline: false,
    automargin: true,
    fixedrange: touch,
    tickmode: "auto",
    ...more,
    ...plainly(given, ["tickvals", "ticktext", "categoryarray"]),
    ...title,
  };
}

function layout({ xaxis = {}, yaxis = {}, yaxis2, ...rest }, touch) {
  return {
    margin: { l: 48, r: yaxis2 ? 52 : 12, t: 8, b: 40 },
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Liberation Sans, sans-serif", size: size(), color: INK },
    paper_bgcolor: "#fff",
    plot_bgcolor: "#fff",
    separators: state.lang === "es" ? ",." : ".,",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal" },
    hoverlabel: { bgcolor: "#fff", bordercolor: "#9aa4b0", font: { color: INK } },
    dragmode: touch ? false : "zoom",
    xaxis: axis(xaxis, touch, { showgrid: false }),
    yaxis: axis(yaxis, touch),
    ...(yaxis2 ? { yaxis2: axis(yaxis2, touch, { showgrid: false }) } : {}),
    ...rest,
  };
}

function plot(id, traces, more = {}) {
  const node = document.getElementById(id);
  if (!node || !window.Plotly) return;
  for (const waiting of node.querySelectorAll(".wait")) waiting.remove();
  const shown = traces.map((trace) => plainly(trace, ["name", "x", "y", "text", "customdata"]));
  Plotly.react(node, shown, layout(more, narrow()), { displayModeBar: false, responsive: true });
}

// every period's name where there is room, every second or third where there is not
function months(names) {
  const every = Math.ceil(names.length / (narrow() ? 8 : 24));
  return {
    type: "category",
    tickmode: "array",
    tickvals: names,
    ticktext: names.map((name, i) => (i % every ? "" : period(name))),
    tickangle: names.length > 7 ? -45 : 0,
    categoryorder: "array",
    categoryarray: names,
  };
}

const sizes = (volumes) => {
  const top = Math.max(1, ...volumes);
  return volumes.map((n) => 6 + 9 * Math.sqrt((n || 0) / top));
};
const bars95 = (rows, middle, low, high, by = 1) => ({
  type: "data",
  symmetric: false,
  array: rows.map((r) => (none(r[high]) ? 0 : by * (r[high] - r[middle]))),
  arrayminus: rows.map((r) => (none(r[low]) ? 0 : by * (r[middle] - r[low]))),
  thickness: 1.2,
  width: 3,
  color: "#5b6470",
});

// a library that sleeps: five megabytes of source travel as two, and are unpacked by the browser
async function library() {
  if (window.Plotly) return true;
  try {
    const packed = await fetch(`data:;base64,${document.getElementById("cr-plotly").textContent}`);
    const source = await new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).text();
    const script = el("script", {}, source);
    document.head.append(script);
    script.remove();
  } catch (error) {
    /* an old browser: the page goes on with tables */
  }
  return Boolean(window.Plotly);
}

function draw(id) {
  try {
    drawings.get(id)();
  } catch (error) {
    const node = document.getElementById(id);
    if (node) node.replaceChildren(el("div", { class: "notice" }, t().unreadable));
  }
}

// one plot a turn of the event loop: the page answers while it is drawn, those at the top first
async function drawAll() {
  const round = (drawAll.round = (drawAll.round || 0) + 1),
    shown = new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
  await shown; // words first: the library takes its time
  const there = await library();
  if (!there) return document.querySelectorAll(".cr .plot").forEach((node) => node.replaceChildren(note(t().noPlots)));
  for (const id of drawings.keys()) {
    if (round !== drawAll.round) return;
    draw(id);
    await new Promise((next) => setTimeout(next));
  }
  document.getElementById("cr-root").dataset.drawn = "yes";
}

// paper is narrower than a screen: plots are drawn anew for it, and back
function forPaper() {
  const small = (node) => ({ ...(node.closest(".pair") ? { width: 330, height: 230 } : { width: 680, height: 250 }), "font.size": 9.5 });
  const each = (paper) => {
    if (window.Plotly)
      for (const node of document.querySelectorAll(".cr .js-plotly-plot"))
        Plotly.relayout(node, paper ? small(node) : { width: null, height: null, autosize: true, "font.size": size() });
  };
  window.addEventListener("beforeprint", () => {
    for (const d of document.querySelectorAll(".cr details.paper")) d.open = true;
    each(true);
  });
  window.addEventListener("afterprint", () => each(false));
}
