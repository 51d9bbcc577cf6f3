// The monitoring page: draws what a run has written, in two languages. No values are computed here and none leave the browser.
(function () {
  "use strict";
  const data = /*DATA*/ null;
  const MARK = { ROJO: "▲", AMARILLO: "◆", VERDE: "●", SIN_DATOS: "○" };
  const SYMBOL = { ROJO: "triangle-up", AMARILLO: "diamond", VERDE: "circle", SIN_DATOS: "circle-open" };
  const TONE = { ROJO: "#b42318", AMARILLO: "#b35c00", VERDE: "#00734f", SIN_DATOS: "#5b6470" };
  const ORDER = ["ROJO", "AMARILLO", "SIN_DATOS", "VERDE"];
  const WORDS = {
    es: {
      title: "Monitoreo de la cartera", ROJO: "Crítica", AMARILLO: "Advertencia", VERDE: "Estable", SIN_DATOS: "Sin datos",
      tiles: { ROJO: "críticas", AMARILLO: "en advertencia", VERDE: "estables", SIN_DATOS: "sin datos suficientes" },
      advice: "Qué hacer", variables: "Variables", variablesHint: "Ordene por una columna; elija una fila para ver su distribución más abajo.",
      variable: "Variable", light: "Estado", missing: "Faltantes", change: "Qué cambió", since: "Desde", all: "todas",
      psi: "PSI: tamaño del cambio; por debajo de 0,10 es pequeño, desde 0,25 es grande", ks: "Kolmogórov-Smirnov: mayor distancia entre las distribuciones acumuladas",
      js: "Divergencia de Jensen-Shannon", v: "V de Cramér, para categorías",
      evolution: "Evolución en el tiempo", evolutionHint: "Cada período contra la referencia. Las barras son el número de créditos: un período pequeño no se califica. El símbolo es el estado del período o de la variable.",
      show: "Mostrar", avg: "PSI promedio", share: "Variables críticas, % de las medidas", loans: "créditos",
      distribution: "Referencia contra actual", pick: "Variable", reference: "Referencia", now: "Actual", absent: "Falta", others: "otros", shareOf: "% de los créditos",
      alerts: "Alertas", alertsHint: "Lo que está en rojo o amarillo, por qué, y qué hacer.", none: "No hay alertas.", sinceWhen: "desde",
      notes: "Cómo leer esta página", period: "Período", verdictAt: "estado",
      method: [
        "Una variable se señala solo si su cambio es más que azar (pruebas corregidas por el número de preguntas) y además importa por su tamaño.",
        "El color es el tamaño: el PSI sin la parte que trae el azar (0,10 y 0,25), o la proporción de datos con fallas nuevas (1 % y 5 %).",
        "«Sin datos» quiere decir que hay muy pocos créditos para saber, no que todo esté bien.",
      ],
      split: { time: "La referencia es la primera parte de la cartera por fecha.", row: "La cartera no tiene fecha: se partió por el orden de las filas y no se sabe desde cuándo cambió.", new: "Se comparan créditos nuevos con la cartera de la corrida." },
      between: (a, b) => `${a} a ${b}`, upto: (a) => `< ${a}`, from: (a) => `≥ ${a}`, rejected: "rechazados", unreadable: "Esta parte no se pudo mostrar: los archivos de la corrida no son los esperados. Ejecute de nuevo make run.",
    },
    en: {
      title: "Portfolio monitoring", ROJO: "Critical", AMARILLO: "Warning", VERDE: "Stable", SIN_DATOS: "No data",
      tiles: { ROJO: "critical", AMARILLO: "warnings", VERDE: "stable", SIN_DATOS: "with too little data" },
      advice: "What to do", variables: "Variables", variablesHint: "Sort by a column; choose a row to see its distribution below.",
      variable: "Variable", light: "State", missing: "Missing", change: "What changed", since: "Since", all: "all",
      psi: "PSI: size of the change; below 0.10 it is small, from 0.25 on it is large", ks: "Kolmogorov-Smirnov: largest distance of the cumulative distributions",
      js: "Jensen-Shannon divergence", v: "Cramér's V, for categories",
      evolution: "Evolution over time", evolutionHint: "Each period against the reference. Bars are the number of loans: a small period is not graded. The symbol is the state of the period or of the variable.",
      show: "Show", avg: "Average PSI", share: "Critical variables, % of those measured", loans: "loans",
      distribution: "Reference against current", pick: "Variable", reference: "Reference", now: "Current", absent: "Missing", others: "others", shareOf: "% of the loans",
      alerts: "Alerts", alertsHint: "What is red or amber, why, and what to do.", none: "There are no alerts.", sinceWhen: "since",
      notes: "How to read this page", period: "Period", verdictAt: "state",
      method: [
        "A variable is named only if its change is more than chance (tests corrected for the number of questions) and large enough to matter.",
        "The colour is the size: the PSI without what chance brings (0.10 and 0.25), or the share of rows with new faults (1 % and 5 %).",
        "“No data” means that there are too few loans to tell, not that all is well.",
      ],
      split: { time: "The reference is the first part of the portfolio by date.", row: "The portfolio has no date: it was cut by the order of its rows, and there is no telling since when it changed.", new: "New loans are compared with the portfolio of the run." },
      between: (a, b) => `${a} to ${b}`, upto: (a) => `< ${a}`, from: (a) => `≥ ${a}`, rejected: "refused", unreadable: "This part could not be shown: the files of the run are not as expected. Do make run again.",
    },
  };

  const state = { lang: /[?&]lang=en\b/.test(location.search) ? "en" : "es", sort: null, down: true, only: null, feature: null, metric: "avg_psi" };
  const t = () => WORDS[state.lang];
  const el = (tag, props, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props || {})) {
      if (key === "class") node.className = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
    return node;
  };
  const num = (x, digits = 3) => (x === null || x === undefined ? "–" : x.toLocaleString(state.lang, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  const pct = (x) => (x === null || x === undefined ? "–" : `${num(100 * x, 1)} %`);
  const whole = (x) => x.toLocaleString(state.lang, { useGrouping: "always" });
  const short = (x) => x.toLocaleString(state.lang, { notation: Math.abs(x) >= 1e5 ? "compact" : "standard", maximumSignificantDigits: 4, useGrouping: "always" });
  const feature = (name) => (data.detail && data.detail.features[name]) || { label: { es: name, en: name } };
  const label = (name) => feature(name).label[state.lang];
  const light = (severity) => el("span", { class: `light ${severity}` }, el("i", { "aria-hidden": "true" }, MARK[severity]), t()[severity]);
  const layout = (more) => Object.assign({
    margin: { l: 56, r: 56, t: 16, b: 70 }, font: { family: "system-ui, sans-serif", size: 13, color: "#16202b" }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    separators: state.lang === "es" ? ",." : ".,", legend: { orientation: "h", y: 1.12, x: 0 }, hoverlabel: { bgcolor: "#fff" }, dragmode: "zoom",
  }, more);
  const config = { displayModeBar: false, responsive: true };

  function header() {
    const alerts = data.alerts, side = (s) => `${whole(alerts[s].n)} ${t().loans}` + (alerts[s].window ? ` (${t().between(...alerts[s].window)})` : "");
    const langs = ["es", "en"].map((lang) => el("button", { id: `cr-lang-${lang}`, "aria-pressed": String(lang === state.lang), onclick: () => { state.lang = lang; draw(); } }, { es: "Español", en: "English" }[lang]));
    const about = alerts ? [alerts.label[state.lang] || alerts.portfolio, `${t().reference}: ${side("reference")}`, `${t().now}: ${side("current")}` + (alerts.current.rejected ? `, ${whole(alerts.current.rejected)} ${t().rejected}` : "")] : [];
    return el("header", {}, el("div", {}, el("h1", {}, t().title), el("p", { class: "muted" }, about.join(" · "))), el("div", { class: "langs", role: "group" }, langs));
  }

  function verdict() {
    const { verdict, summary, advice, counts } = data.alerts;
    const tiles = ["ROJO", "AMARILLO", "VERDE", "SIN_DATOS"].map((s) =>
      el("button", { class: `tile ${s}`, "aria-pressed": String(state.only === s), onclick: () => { state.only = state.only === s ? null : s; draw(); } }, el("b", {}, whole(counts[s])), `${MARK[s]} ${t().tiles[s]}`));
    return [
      el("section", { id: "cr-verdict", class: `verdict ${verdict}` }, el("p", { class: "what" }, `${MARK[verdict]} `, summary[state.lang]), el("p", { class: "advice" }, el("b", {}, `${t().advice}: `), advice[state.lang])),
      el("div", { class: "tiles" }, tiles),
    ];
  }

  function table() {
    const since = Object.fromEntries(((data.alerts || {}).alerts || []).map((a) => [a.feature, a.since]));
    const columns = [
      ["feature", t().variable, (r) => label(r.feature).toLowerCase()], ["severity", t().light, (r) => -ORDER.indexOf(r.severity)], ["psi", "PSI", null, t().psi], ["ks", "KS", null, t().ks],
      ["js", "JS", null, t().js], ["cramers_v", "V", null, t().v], ["missing_current", t().missing], ["change", t().change, (r) => r[`change_${state.lang}`] || ""], ["since", t().since, (r) => since[r.feature] || ""],
    ];
    const key = (columns.find((c) => c[0] === state.sort) || [])[2] || ((r) => r[state.sort] ?? -1);
    let rows = data.table.filter((r) => !state.only || r.severity === state.only);
    if (state.sort) rows = [...rows].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (state.down ? -1 : 1));
    const sortBy = (name) => { state.down = state.sort === name ? !state.down : name !== "feature" && name !== "since"; state.sort = name; draw(); };
    const isNum = (name) => ["psi", "ks", "js", "cramers_v", "missing_current"].includes(name);
    const head = columns.map(([name, text, , hint]) =>
      el("th", { class: isNum(name) ? "num" : "", title: hint, "aria-sort": state.sort === name ? (state.down ? "descending" : "ascending") : null }, el("button", { onclick: () => sortBy(name) }, text)));
    const body = rows.map((r) => el("tr", { class: r.feature === state.feature ? "picked" : "", tabindex: "0", "data-feature": r.feature, onclick: () => pick(r.feature), onkeydown: (e) => { if (e.key === "Enter") pick(r.feature); } },
      el("td", {}, label(r.feature), el("small", {}, r.feature)), el("td", {}, light(r.severity)), ...["psi", "ks", "js", "cramers_v"].map((c) => el("td", { class: "num" }, num(r[c]))),
      el("td", { class: "num" }, pct(r.missing_current)), el("td", {}, r[`change_${state.lang}`] || ""), el("td", { class: "since" }, since[r.feature] || "")));
    return [el("h2", {}, t().variables), el("p", {}, t().variablesHint), el("div", { class: "scroll" }, el("table", { id: "cr-table" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)))];
  }

  function options(values, chosen) {
    return values.map(([value, text]) => { const o = el("option", { value }, text); o.selected = value === chosen; return o; });
  }

  function evolution() {
    const names = data.detail ? Object.keys(data.detail.features).map((f) => [f, `PSI: ${label(f)}`]).sort((a, b) => a[1].localeCompare(b[1], state.lang)) : [];
    const select = el("select", { id: "cr-metric", onchange: (e) => { state.metric = e.target.value; drawEvolution(); } }, options([["avg_psi", t().avg], ["pct_red", t().share], ...names], state.metric));
    return [el("h2", {}, t().evolution), el("p", {}, t().evolutionHint), el("label", {}, t().show, select), el("div", { id: "cr-evolution", class: "plot" })];
  }

  function drawEvolution() {
    const own = data.detail && data.detail.features[state.metric], share = state.metric === "pct_red";
    const values = data.log.map((r, i) => (own ? own.psi[i] : r[state.metric])).map((v) => (share && v !== null ? 100 * v : v));
    const states = data.log.map((r, i) => (own ? own.severity[i] : r.verdict) || "SIN_DATOS");
    const periods = data.log.map((r) => r.period), name = own ? `PSI: ${label(state.metric)}` : share ? t().share : t().avg;
    const lines = share ? [] : [0.1, 0.25].map((y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: "#9aa4b0", width: 1, dash: "dot" } }));
    const top = Math.max(...values.filter((v) => v !== null), share ? 5 : 0.12);
    const empty = states.map((s, i) => (values[i] === null ? 0 : null));
    Plotly.react("cr-evolution", [
      { type: "bar", name: t().loans, x: periods, y: data.log.map((r) => r.n), yaxis: "y2", marker: { color: states.map((s) => (s === "SIN_DATOS" ? "#eceff2" : "#d5dbe1")) }, hovertemplate: `%{x}: %{y:,} ${t().loans}<extra></extra>` },
      { type: "scatter", mode: "lines+markers", name, x: periods, y: values, connectgaps: false, line: { color: "#16202b", width: 1.5 }, text: states.map((s) => t()[s]),
        marker: { size: 11, symbol: states.map((s) => SYMBOL[s]), color: states.map((s) => TONE[s]) }, hovertemplate: `%{x}: %{y:${share ? ".1f" : ".3f"}} · %{text}<extra></extra>` },
      { type: "scatter", mode: "markers", name: t().SIN_DATOS, x: periods, y: empty, marker: { size: 9, symbol: "circle-open", color: TONE.SIN_DATOS }, hovertemplate: `%{x}: ${t().SIN_DATOS}<extra></extra>`, visible: empty.includes(0) },
    ], layout({ shapes: lines, bargap: 0.25, xaxis: { type: "category", tickangle: periods.length > 14 ? -45 : 0 }, yaxis: { title: { text: share ? "%" : "PSI" }, range: [-0.04 * top, 1.15 * top], overlaying: "y2", tickmode: "auto", nticks: 6, zeroline: false, gridcolor: "#eceff2" },
      yaxis2: { title: { text: t().loans }, side: "right", showgrid: false, rangemode: "tozero" } }), config);
  }

  function distribution() {
    const names = Object.keys(data.detail.features).map((f) => [f, label(f)]).sort((a, b) => a[1].localeCompare(b[1], state.lang));
    const select = el("select", { id: "cr-picker", onchange: (e) => pick(e.target.value) }, options(names, state.feature));
    return [el("h2", {}, t().distribution), el("label", {}, t().pick, select), el("p", { id: "cr-told", class: "muted" }), el("div", { id: "cr-distribution", class: "plot" })];
  }

  function bars(b) {
    const e = b.edges;
    const names = e ? (e.length ? [t().upto(short(e[0])), ...e.slice(1).map((x, i) => t().between(short(e[i]), short(x))), t().from(short(e[e.length - 1]))] : [t().all]) : b.values ? b.values.map(short) : [...b.levels];
    if (b.others) names.push(`${whole(b.others)} ${t().others}`);
    return [...names, t().absent];
  }

  function drawDistribution() {
    const shown = feature(state.feature), b = shown.bars, row = data.table && data.table.find((r) => r.feature === state.feature);
    const told = document.getElementById("cr-told");
    told.replaceChildren(...(row ? [light(row.severity), ` PSI ${num(row.psi)}`, row[`change_${state.lang}`] ? ` · ${row[`change_${state.lang}`]}` : ""] : []));
    const names = bars(b), place = names.map((_, i) => i);
    const trace = (rows, name, color) => {
      const all = rows.reduce((a, x) => a + x, 0);
      return { type: "bar", name: `${name} (n = ${whole(all)})`, x: place, y: rows.map((v) => (all ? (100 * v) / all : 0)), customdata: rows.map((v, i) => [names[i], whole(v)]), marker: { color },
        hovertemplate: `%{customdata[0]}: %{y:.1f} % (%{customdata[1]} ${t().loans})<extra>${name}</extra>` };
    };
    Plotly.react("cr-distribution", [trace(b.then, t().reference, "#b4bdc7"), trace(b.now, t().now, "#0072b2")],
      layout({ barmode: "group", bargap: 0.18, yaxis: { title: { text: t().shareOf }, gridcolor: "#eceff2", rangemode: "tozero" }, xaxis: { tickvals: place, ticktext: names, tickangle: names.length > 8 ? -40 : 0, title: { text: state.lang === "en" ? shown.unit || "" : "" }, automargin: true, fixedrange: false } }), config);
  }

  function alerts() {
    const items = data.alerts.alerts.map((a) => el("li", { class: a.severity }, light(a.severity), " ", el("b", {}, a.label[state.lang]), ` · PSI ${num(a.psi)}` + (a.since ? ` · ${t().sinceWhen} ${a.since}` : ""), el("br"), a.change[state.lang], el("br"), el("span", { class: "muted" }, a.action[state.lang])));
    return [el("h2", {}, t().alerts), el("p", {}, t().alertsHint), items.length ? el("ul", { id: "cr-alerts", class: "alerts" }, items) : el("p", {}, t().none)];
  }

  function notes() {
    const split = data.alerts && t().split[data.alerts.mode.split("_")[0]];
    return el("details", {}, el("summary", {}, t().notes), [...t().method, split].filter(Boolean).map((text) => el("p", {}, text)));
  }

  function pick(name) {
    state.feature = name;
    for (const row of document.querySelectorAll("#cr-table tbody tr")) row.classList.toggle("picked", row.dataset.feature === name);
    const picker = document.getElementById("cr-picker");
    if (picker && data.detail.features[name]) { picker.value = name; drawDistribution(); }
  }

  function safely(section) {
    try { return section() ?? []; } catch (error) { return el("div", { class: "notice" }, t().unreadable); }
  }

  function draw() {
    const problems = data.problems.map((p) => el("div", { class: "notice" }, p[state.lang]));
    const root = document.getElementById("cr-root"), drawn = data.detail && Object.keys(data.detail.features).length;
    for (const id of ["cr-evolution", "cr-distribution"]) if (document.getElementById(id)) Plotly.purge(id);
    root.lang = state.lang;
    document.documentElement.lang = state.lang;
    document.title = t().title;
    const sections = [[true, header], [true, () => problems], [data.alerts, verdict], [data.table, table], [data.log, evolution], [drawn, distribution], [data.alerts, alerts], [true, notes]];
    root.replaceChildren(...sections.filter(([there]) => there).flatMap(([, section]) => safely(section)));
    if (data.log) safely(drawEvolution);
    if (drawn) safely(drawDistribution);
  }

  function start() {
    if (!document.getElementById("cr-root")) return requestAnimationFrame(start);
    const drawn = data.detail ? Object.keys(data.detail.features) : [];
    state.feature = ((data.table || []).find((r) => drawn.includes(r.feature)) || { feature: drawn[0] }).feature;
    draw();
  }
  start();
})();
