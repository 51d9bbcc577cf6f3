// What it means for the business: scores, decisions, bad rates, how well the model does, and what a correction would be worth.
const scored = () => detail.score;
const rates = () => (scored().bands || []).filter((r) => !none(r.bad_rate));

function score() {
  if (!scored()) return part("score-part", t().score, null, note(t().noScore));
  const figures = [
    scored().then && scoresFigure(),
    scored().contributions?.length && movesFigure(),
    ...(scored().bands?.length ? [decisionsFigure(), ratesFigure()] : []),
  ];
  const tools = el("div", { class: "tools" }, periodPicker("cr-score-period"));
  return part("score-part", t().score, null, tools, el("div", { class: "pair" }, figures.filter(Boolean)));
}

function scoresFigure() {
  const rows = () => scoreNames().map((name, i) => [name, whole(scored().then[i]), whole(rowsNow(scored())[i])]);
  return figure("cr-scores", t().scoreDistribution, t().scoreHint, drawScores, () => [[t().points, t().reference, periodName()], rows(), [1, 2]]);
}

function movesFigure() {
  const moves = scored().contributions,
    hint = `${t().contributionsHint} ${t().total(signed(moves.reduce((a, m) => a + m.points, 0)))}`;
  const rows = () => moves.map((m) => [said(m.label) || m.feature, signed(m.points, 2)]);
  return figure("cr-moves", t().contributions, hint, drawMoves, () => [[t().variable, t().shift], rows(), [1]]);
}

function decisionsFigure() {
  const rows = () => scored().bands.map((r) => [period(r.period), whole(r.n), pct(r.approve), pct(r.review), pct(r.refuse)]);
  return figure("cr-decisions", t().decisions, t().decisionsHint, drawDecisions, () => [
    [t().period, t().volume, t().approve, t().review, t().refuse],
    rows(),
    [1, 2, 3, 4],
  ]);
}

function ratesFigure() {
  if (rates().length) return figure("cr-rates", t().badRate, t().badRateHint, drawRates, ratesTable);
  return el("figure", {}, el("figcaption", {}, el("h3", {}, t().badRate)), note(t().noRates));
}

const scoreNames = () => {
  const e = scored().edges;
  return [t().less(short(e[0])), ...e.slice(1).map((x, i) => t().between(short(e[i]), short(x))), t().from(short(e[e.length - 1]))];
};
const ratesTable = () => [
  [t().period, t().volume, t().bads, t().observed, t().interval, t().expected, ""],
  scored().bands.map((r) => [
    period(r.period),
    whole(r.n),
    whole(r.bads),
    pct(r.bad_rate),
    range(r.low, r.high),
    pct(r.pd),
    none(r.bad_rate) ? "" : ripeness(r),
  ]),
  [1, 2, 3, 4, 5],
];

function drawScores() {
  const names = scoreNames(),
    given = scored(),
    every = Math.ceil(given.edges.length / 8),
    cut = (rows) => rows.slice(0, names.length);
  drawBars(
    "cr-scores",
    { then: cut(given.then) },
    names,
    cut(rowsNow(given)),
    {
      tickvals: given.edges.map((_, i) => i + 0.5),
      ticktext: given.edges.map((e, i) => (i % every ? "" : short(e))),
      tickangle: 0,
      title: { text: t().points.toLowerCase() },
    },
    false,
  );
}

function drawDecisions() {
  const rows = scored().bands,
    names = rows.map((r) => r.period),
    kinds = [
      ["approve", BLUE, ""],
      ["review", ORANGE, "/"],
      ["refuse", RED, "x"],
    ];
  plot(
    "cr-decisions",
    kinds.map(([kind, color, shape]) => ({
      type: "bar",
      name: t()[kind],
      x: names,
      y: rows.map((r) => 100 * r[kind]),
      customdata: rows.map((r) => [period(r.period), whole(r.n)]),
      marker: { color, pattern: { shape, fillmode: "overlay", fgcolor: "#fff", size: 6, solidity: 0.25 } },
      hovertemplate: `%{customdata[0]}: %{y:.1f} % (${t().volume.toLowerCase()}: %{customdata[1]})<extra>${t()[kind]}</extra>`,
      width: widths(rows),
    })),
    { barmode: "stack", xaxis: months(names), yaxis: { title: { text: t().shareOf }, range: [0, 100] } },
  );
}

// a small period gets a narrow bar
const widths = (rows) => {
  const top = Math.max(1, ...rows.map((r) => r.n || 0));
  return rows.map((r) => 0.25 + 0.6 * Math.sqrt((r.n || 0) / top));
};

function drawRates() {
  const rows = rates(),
    names = scored().bands.map((r) => r.period);
  plot(
    "cr-rates",
    [
      observedTrace(rows, "bad_rate", t().observed),
      {
        type: "scatter",
        mode: "lines",
        name: t().expected,
        x: names,
        y: scored().bands.map((r) => (none(r.pd) ? null : 100 * r.pd)),
        line: { color: BLUE, width: 2 },
        customdata: names.map(period),
        hovertemplate: `%{customdata}: %{y:.1f} %<extra>${t().expected}</extra>`,
      },
    ],
    { xaxis: months(names), yaxis: { title: { text: "%" }, rangemode: "tozero" } },
  );
}

function observedTrace(rows, name, text, by = 100) {
  const ripe = rows.map((r) => r.mature !== false);
  return {
    type: "scatter",
    mode: "markers",
    name: text,
    x: rows.map((r) => r.period),
    y: rows.map((r) => by * r[name]),
    error_y: bars95(rows, name, name === "auc" ? "auc_low" : "low", name === "auc" ? "auc_high" : "high", by),
    marker: { size: sizes(rows.map((r) => r.n)), color: INK, opacity: 1, symbol: ripe.map((m) => (m ? "circle" : "circle-open")) },
    customdata: rows.map((r, i) => [period(r.period), whole(r.n), whole(r.bads), ripe[i] ? t().mature : t().immature]),
    hovertemplate: `%{customdata[0]}: %{y:.1f} · %{customdata[1]} ${t().loans}, %{customdata[2]} ${t().bads} · %{customdata[3]}<extra>${text}</extra>`,
  };
}

function drawMoves() {
  const rows = scored()
      .contributions.filter((m) => Math.abs(m.points) >= 0.05)
      .sort((a, b) => Math.abs(b.points) - Math.abs(a.points))
      .slice(0, 12)
      .reverse(),
    names = rows.map((m) => said(m.label) || m.feature),
    points = rows.map((m) => m.points),
    low = Math.min(0, ...points),
    high = Math.max(0, ...points);
  plot(
    "cr-moves",
    [
      {
        type: "bar",
        orientation: "h",
        x: rows.map((m) => m.points),
        y: names,
        marker: { color: rows.map((m) => (m.points < 0 ? RED : BLUE)) },
        text: rows.map((m) => signed(m.points)),
        textposition: "outside",
        cliponaxis: false,
        hovertemplate: "%{y}: %{text}<extra></extra>",
      },
    ],
    {
      xaxis: {
        title: { text: t().points.toLowerCase() },
        zeroline: true,
        zerolinecolor: "#9aa4b0",
        showgrid: true,
        range: [low - 0.16 * (high - low), high + 0.16 * (high - low)],
      },
      yaxis: { showgrid: false, type: "category" },
      showlegend: false,
    },
  );
}

function performance() {
  const found = detail.performance;
  if (!found) return part("performance-part", t().performance, null, note(t().noOutcomes));
  const young = found.young ? t().young(pct(found.young, 0)) : "",
    unripe = found.maturity_months === 0 && young ? t().unripe : "";
  const ranked = (found.periods || []).some((r) => !none(r.auc)),
    level = (found.bands || []).some((r) => !none(r.observed));
  const shown = [ranked && aucFigure(), level && calibrationFigure(), estimate(found.estimate), intercept(found.intercept)].filter(Boolean);
  const hint = [young, unripe].filter(Boolean).join(" ");
  return part("performance-part", t().performance, hint, ranked || level ? null : note(t().noOutcomes), el("div", { class: "pair" }, shown));
}

function aucFigure() {
  const head = [t().period, t().volume, t().bads, t().expected, t().observed, "AUC", t().interval, t().gini, t().ks2, t().brier, ""];
  const row = (r) => [
    period(r.period),
    whole(r.n),
    whole(r.bads),
    pct(r.expected),
    pct(r.observed),
    num(r.auc),
    range(r.auc_low, r.auc_high, num),
    num(r.gini),
    num(r.ks),
    num(r.brier, 4),
    ripeness(r),
  ];
  return figure("cr-auc", t().auc, t().aucHint, drawAuc, () => [head, detail.performance.periods.map(row), [1, 2, 3, 4, 5, 6, 7, 8, 9]]);
}

function calibrationFigure() {
  const rows = () => detail.performance.bands.map((r, i) => [bandName(r, i), whole(r.n), pct(r.expected), pct(r.observed), range(r.low, r.high)]);
  return figure("cr-calibration", t().calibration, t().calibrationHint, drawCalibration, () => [
    [t().band, t().volume, t().expected, t().observed, t().interval],
    rows(),
    [1, 2, 3, 4],
  ]);
}

const ripeness = (r) => (none(r.mature) ? "" : r.mature ? t().mature : t().immature);
const bandName = (r, i) => String(r.band ?? i + 1);

function drawAuc() {
  const rows = detail.performance.periods.filter((r) => !none(r.auc)),
    names = rows.map((r) => r.period);
  const rest = { type: "line", xref: "paper", x0: 0, x1: 1, y0: 50, y1: 50, line: { color: "#9aa4b0", width: 1, dash: "dot" } };
  plot("cr-auc", [observedTrace(rows, "auc", "AUC")], {
    shapes: [rest],
    showlegend: false,
    xaxis: months(names),
    yaxis: { title: { text: "AUC × 100" } },
  });
}

function drawCalibration() {
  const rows = detail.performance.bands.filter((r) => !none(r.observed)),
    top = 110 * Math.max(...rows.map((r) => Math.max(r.expected, none(r.high) ? r.observed : r.high)));
  const texts = rows.map((r, i) => [bandName(r, i), whole(r.n)]);
  plot(
    "cr-calibration",
    [
      {
        type: "scatter",
        mode: "lines",
        name: t().perfect,
        x: [0, top],
        y: [0, top],
        line: { color: "#9aa4b0", dash: "dot", width: 1 },
        hoverinfo: "skip",
      },
      {
        type: "scatter",
        mode: "markers",
        name: t().observed,
        x: rows.map((r) => 100 * r.expected),
        y: rows.map((r) => 100 * r.observed),
        error_y: bars95(rows, "observed", "low", "high", 100),
        marker: { size: sizes(rows.map((r) => r.n)), color: BLUE, opacity: 1 },
        customdata: texts,
        hovertemplate: `%{customdata[0]}: %{x:.1f} % → %{y:.1f} % (%{customdata[1]} ${t().loans})<extra></extra>`,
      },
    ],
    {
      xaxis: { title: { text: `${t().expected}, %` }, rangemode: "tozero", showgrid: true, gridcolor: FAINT },
      yaxis: { title: { text: `${t().observed}, %` }, rangemode: "tozero" },
    },
  );
}

function estimate(found) {
  if (!found) return null;
  const checked = (found.checked || []).filter((r) => !none(r.estimated));
  const rows = [
    [t().estimateAuc, num(found.auc), none(found.auc_low) ? "" : t().range95(range(found.auc_low, found.auc_high, num))],
    [t().estimateRate, pct(found.bad_rate), none(found.error) ? "" : t().pastError(pct(found.error))],
  ].filter((r) => r[1] !== "–");
  const areas = checked.some((r) => !none(r.auc_estimated)),
    past = (r) => [period(r.period), pct(r.estimated), pct(r.realised), ...(areas ? [num(r.auc_estimated), num(r.auc_realised)] : [])];
  const head = [t().period, t().estimated, t().realised, ...(areas ? [t().aucEstimated, t().aucRealised] : [])];
  return el(
    "figure",
    { id: "cr-estimate", class: "boxed" },
    el("figcaption", {}, el("h3", {}, t().estimate), el("p", { class: "hint" }, t().estimateHint)),
    grid([t().measure, t().estimated, t().margin], rows, [1, 2]),
    checked.length ? el("details", { class: "numbers" }, el("summary", {}, t().checked), grid(head, checked.map(past), [1, 2, 3, 4])) : null,
  );
}

// whether the correction is called for; loans that may still go bad make a lower level look better than it is
function interceptVerdict(found) {
  const young = detail.performance.young || 0,
    outside = found.advised ?? (found.expected < found.low || found.expected > found.high);
  if (!outside) return t().interceptInside;
  return young >= 0.5 && found.shift < 0 ? t().interceptYoung(pct(young, 0)) : t().interceptOutside;
}

function intercept(found) {
  if (!found || none(found.shift)) return null;
  const sizes = none(found.n) ? "" : t().ofLoans(whole(found.n), whole(found.bads));
  const would = t().interceptWould(found.shift, pct(found.expected), `${pct(found.observed)} (${range(found.low, found.high)}${sizes})`);
  const rows = [
    [t().brierLong, num(found.brier_before, 5), num(found.brier_after, 5)],
    [t().logLoss, num(found.log_loss_before, 5), num(found.log_loss_after, 5)],
    [t().shiftOdds, "", signed(found.shift, 3)],
  ];
  const change = found.log_loss_after / found.log_loss_before - 1;
  const caption = el("figcaption", {}, el("h3", {}, t().intercept), el("p", { class: "hint" }, t().interceptHint));
  const worth = found.judged && found.judged.unseen ? el("p", {}, t().worth(change < 0, pct(Math.abs(change)), whole(found.judged.n))) : null;
  const numbers = folded(t().figures, () => grid([t().measure, t().before, t().after], rows, [1, 2]));
  return el("figure", { id: "cr-intercept", class: "boxed" }, caption, el("p", {}, would, " ", el("b", {}, interceptVerdict(found))), worth, numbers);
}
