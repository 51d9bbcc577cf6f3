// What changed: the index period by period, and one variable then and now.
// the average, the share of critical ones, and each variable by name
function metrics() {
  const names = Object.keys(detail.features).map((f) => [f, `PSI: ${label(f)}`]);
  return [["avg_psi", t().avg], ["pct_red", t().share], ...names.sort((a, b) => a[1].localeCompare(b[1], state.lang))];
}

function pickMetric(name) {
  state.metric = name;
  redraw("cr-evolution-part", evolution);
  drawAll();
  document.getElementById("cr-metric").focus();
}

function evolution() {
  const chosen = metrics().find((c) => c[0] === state.metric)[1];
  const select = el("select", { id: "cr-metric", onchange: (e) => pickMetric(e.target.value) }, options(metrics(), state.metric));
  const tools = [el("div", { class: "tools" }, el("label", {}, t().show, select)), el("p", { class: "onpaper" }, chosen)];
  const several = data.log.length > 1 ? [tools, remarks(), figure("cr-evolution", "", chosen, drawEvolution, evolutionTable)] : [remarks()];
  return part("evolution-part", t().evolution, t().evolutionHint, several.flat());
}

function evolutionTable() {
  const off = own() && own().deflated,
    share = state.metric === "pct_red";
  const head = [t().period, t().volume, share ? t().share : "PSI", ...(off ? [t().deflated(said(off.index))] : []), t().state];
  const row = (r, i) => [
    period(r.period),
    whole(r.n),
    share ? pct(measured(i)) : num(measured(i)),
    ...(off ? [num((off.psi_by_period || [])[place(i)])] : []),
    light(stateAt(i)),
  ];
  return [head, data.log.map(row), off ? [1, 2, 3] : [1, 2]];
}

const own = () => detail.features[state.metric];
// the detail's periods and the log's are the same, by name
const place = (i) => detail.periods.indexOf(data.log[i].period);
const measured = (i) => (own() ? own().psi[place(i)] : data.log[i][state.metric]) ?? null;
const stateAt = (i) => (own() ? own().severity[place(i)] : data.log[i].verdict) || "SIN_DATOS";

function remarks() {
  const pooled = (detail.pooled || []).map((p) => period(p.into)).join(", ");
  const unknown = data.log.filter((r) => r.verdict === "SIN_DATOS").map((r) => `${period(r.period)} (${whole(r.n)})`);
  const texts = [
    pooled ? t().pooled(pooled) : null,
    unknown.length ? t().unmeasured(unknown.join(", ")) : null,
    data.log.length === 1 ? t().onePeriod : null,
  ].filter(Boolean);
  return texts.length ? el("p", { class: "remark" }, texts.join(" ")) : null;
}

function drawEvolution() {
  const share = state.metric === "pct_red",
    by = share ? 100 : 1,
    off = own() && own().deflated;
  const values = data.log.map((_, i) => (measured(i) === null ? null : by * measured(i))),
    states = data.log.map((_, i) => stateAt(i));
  const names = data.log.map((r) => r.period),
    shown = names.map(period),
    volumes = data.log.map((r) => r.n),
    name = own() ? "PSI" : share ? t().share : t().avg;
  const lines = (own() ? limits() : [])
    .map((y, i) => [y, [TONE.AMARILLO, TONE.ROJO][i]])
    .map(([y, color]) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color, width: 1, dash: "dot" } }));
  const without = off && off.psi_by_period ? data.log.map((_, i) => off.psi_by_period[place(i)] ?? null) : null;
  const top = Math.max(...values.filter((v) => v !== null), share ? 5 : 0.12),
    empty = states.map((s, i) => (values[i] === null ? 0 : null));
  const format = share ? ".1f" : ".3f";
  plot(
    "cr-evolution",
    [
      {
        type: "bar",
        name: t().volume,
        x: names,
        y: volumes,
        yaxis: "y2",
        customdata: shown,
        marker: { color: volumes.map((_, i) => (values[i] === null ? FAINT : "#d5dbe1")) },
        hovertemplate: `%{customdata}: %{y:,} ${t().loans}<extra></extra>`,
      },
      {
        type: "scatter",
        mode: "lines+markers",
        name,
        x: names,
        y: values,
        connectgaps: false,
        line: { color: INK, width: 1.5 },
        customdata: shown,
        text: states.map((s) => t()[s]),
        marker: {
          size: sizes(volumes),
          symbol: states.map((s) => SYMBOL[s]),
          color: states.map((s) => TONE[s]),
          opacity: 1,
          line: { color: "#fff", width: 0.5 },
        },
        hovertemplate: `%{customdata}: %{y:${format}} · %{text}<extra></extra>`,
      },
      ...(without
        ? [
            {
              type: "scatter",
              mode: "lines+markers",
              name: t().deflatedLine(said(off.index)),
              x: names,
              y: without,
              customdata: shown,
              line: { color: BLUE, width: 1.5, dash: "dash" },
              marker: { size: 6, color: BLUE },
              hovertemplate: `%{customdata}: %{y:.3f}<extra></extra>`,
            },
          ]
        : []),
      {
        type: "scatter",
        mode: "markers",
        name: t().SIN_DATOS,
        x: names,
        y: empty,
        customdata: shown,
        marker: { size: 8, symbol: "circle-open", color: TONE.SIN_DATOS },
        hovertemplate: `%{customdata}: ${t().SIN_DATOS}<extra></extra>`,
        visible: empty.includes(0),
      },
    ],
    {
      shapes: lines,
      bargap: 0.25,
      xaxis: months(names),
      yaxis: { title: { text: share ? "%" : "PSI" }, range: [-0.04 * top, 1.15 * top], overlaying: "y2", nticks: 6 },
      yaxis2: { title: { text: t().loans }, side: "right", rangemode: "tozero" },
    },
  );
}

const hasPeriods = (bars) => bars && bars.periods && Object.keys(bars.periods).length > 0;

function distribution() {
  const names = Object.keys(detail.features)
    .map((f) => [f, label(f)])
    .sort((a, b) => a[1].localeCompare(b[1], state.lang));
  const select = el("select", { id: "cr-picker", onchange: (e) => pick(e.target.value) }, options(names, state.feature));
  const rows = () => {
    const b = feature(state.feature).bars,
      chosen = rowsNow(b);
    return [
      [label(state.feature), t().reference, "%", periodName(), "%"],
      barNames(b).map((name, i) => [name, whole(b.then[i]), pct(b.then[i] / sum(b.then)), whole(chosen[i]), pct(chosen[i] / sum(chosen))]),
      [1, 2, 3, 4],
    ];
  };
  return part(
    "distribution-part",
    t().distribution,
    null,
    el("div", { class: "tools" }, el("label", {}, t().pick, select), periodPicker()),
    el("div", { id: "cr-told" }, telling()),
    figure("cr-distribution", "", `${t().distribution}: ${label(state.feature)}`, drawDistribution, rows),
  );
}

// one picker of the period for both distributions, the variable's and the score's
function periodPicker(id = "cr-period") {
  const some = Object.values(detail.features).some((f) => hasPeriods(f.bars)) || (detail.score && hasPeriods(detail.score));
  if (!some) return null;
  const count = (i) => (detail.n ? ` (${whole(detail.n[i])} ${t().loans})` : "");
  const choices = [["", t().wholeNow], ...detail.periods.map((p, i) => [p, period(p) + count(i)])];
  return el("label", {}, t().pickPeriod, el("select", { id, onchange: (e) => pickPeriod(e.target.value, id) }, options(choices, state.period)));
}

const sum = (rows) => rows.reduce((a, x) => a + x, 0) || 1;
const periodName = () => (state.period ? period(state.period) : t().now);
const rowsNow = (bars) => (state.period && bars.periods && bars.periods[state.period]) || bars.now;

function verdictCard(title, severity, psi, more) {
  const grade = severity ? el("b", {}, light(severity)) : null;
  return el(
    "div",
    { class: `card ${severity || ""}` },
    el("span", { class: "muted" }, title),
    grade,
    el("span", {}, `PSI ${num(psi)}`),
    more ? el("p", {}, more) : null,
  );
}

// what is said about the variable: as found in the chosen period, and with the nominal drift taken off
function telling() {
  const name = state.feature,
    shown = feature(name),
    row = (data.table || []).find((r) => r.feature === name),
    at = detail.periods.indexOf(state.period);
  const severity = at >= 0 ? shown.severity[at] || "SIN_DATOS" : row && row.severity,
    psi = at >= 0 ? shown.psi[at] : row && row.psi,
    off = deflation(name);
  const n = shown.bars ? rowsNow(shown.bars).reduce((a, x) => a + x, 0) : 0;
  if (!severity) return [];
  const found = verdictCard(
    `${t().found} · ${periodName()}`,
    severity,
    psi,
    [at < 0 && row ? changeOf(row) : "", n && n < 200 ? ` ${t().few(whole(n))}` : ""].join(""),
  );
  if (!off) return [el("div", { class: "cards" }, found)];
  const then = at >= 0 && off.psi_by_period ? off.psi_by_period[at] : off.psi,
    index = said(off.index);
  const says =
    off.severity === "VERDE" && row && row.severity !== "VERDE" ? t().explained : row && off.psi < 0.8 * row.psi ? t().partly : t().unexplained;
  return [
    el(
      "div",
      { class: "cards" },
      found,
      verdictCard(
        `${t().deflated(index)} · ${periodName()}`,
        at >= 0 ? null : off.severity, // the run grades the whole, not each period
        then,
        says(label(name), index),
      ),
    ),
  ];
}

function barNames(b) {
  const e = b.edges;
  const names = e
    ? e.length
      ? [t().less(short(e[0])), ...e.slice(1).map((x, i) => t().between(short(e[i]), short(x))), t().from(short(e[e.length - 1]))]
      : [t().all]
    : b.values
      ? b.values.map(short)
      : [...b.levels];
  if (b.others) names.push(`${whole(b.others)} ${t().others}`);
  return [...names, t().absent];
}

// two series of bars; the last one, missing, stands apart and hatched
function drawBars(id, bars, names, chosen, xaxis, missing = true) {
  const at = names.map((_, i) => (missing && i === names.length - 1 ? i + 0.6 : i));
  const trace = (rows, name, color, opacity) => {
    const all = rows.reduce((a, x) => a + x, 0);
    return {
      type: "bar",
      name: `${name} (${whole(all)} ${t().loans})`,
      x: at,
      y: rows.map((v) => (all ? (100 * v) / all : 0)),
      customdata: rows.map((v, i) => [names[i], whole(v)]),
      marker: {
        color,
        opacity,
        pattern: {
          shape: rows.map((_, i) => (missing && i === names.length - 1 ? "/" : "")),
          fillmode: "overlay",
          fgcolor: "#fff",
          size: 6,
          solidity: 0.3,
        },
      },
      hovertemplate: `%{customdata[0]}: %{y:.1f} % (%{customdata[1]} ${t().loans})<extra>${name}</extra>`,
    };
  };
  const small = chosen.reduce((a, x) => a + x, 0) < 200;
  plot(id, [trace(bars.then, t().reference, GREY, 1), trace(chosen, periodName(), BLUE, small ? 0.55 : 1)], {
    barmode: "group",
    bargap: 0.18,
    yaxis: { title: { text: t().shareOf }, rangemode: "tozero" },
    xaxis: {
      tickmode: "array",
      tickvals: at,
      ticktext: names.map((name) => (name.length > 26 ? `${name.slice(0, 25)}…` : name)),
      tickangle: names.length > 8 ? -40 : 0,
      ...xaxis,
    },
  });
}

function drawDistribution() {
  const shown = feature(state.feature);
  drawBars("cr-distribution", shown.bars, barNames(shown.bars), rowsNow(shown.bars), { title: { text: unit(shown.unit), standoff: 8 } });
}

function pick(name) {
  state.feature = name;
  for (const row of document.querySelectorAll("#cr-table tbody tr")) row.classList.toggle("picked", row.dataset.feature === name);
  const picker = document.getElementById("cr-picker");
  if (picker && detail.features[name]) {
    picker.value = name;
    document.getElementById("cr-told").replaceChildren(...telling());
    draw("cr-distribution");
  }
}

function pickPeriod(name, id) {
  state.period = name;
  redraw("cr-distribution-part", distribution);
  if (detail.score) redraw("cr-score-part", score);
  drawAll();
  document.getElementById(id).focus();
}
