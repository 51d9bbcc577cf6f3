// The population as a whole: can it be told apart, where it changed, and which loans are strange.
function population() {
  const found = detail.population,
    places = detail.segments || [],
    strange = detail.anomalies || [];
  if (!found && !detail.segments && !detail.anomalies) return part("population-part", t().population, null, note(t().noPopulation));
  return part(
    "population-part",
    t().population,
    null,
    found ? domain(found) : null,
    detail.segments ? (places.length ? segments(places) : note(t().noSegments)) : null,
    detail.anomalies ? (strange.length ? anomalies(strange) : note(t().noAnomalies)) : null,
  );
}

function domain(found) {
  const per100 = (x) => whole(100 * x),
    verdict = found.low <= 0.5 ? t().domainNo(whole(found.n_current ?? data.alerts?.current?.n)) : found.auc < 0.65 ? t().domainSome : t().domainMuch;
  const features = (found.features || []).filter((f) => f.importance > 0).slice(0, 10);
  const chart =
    features.length && found.low > 0.5
      ? figure(
          "cr-domain",
          t().importance,
          "",
          () => drawImportance(features),
          () => [[t().variable, t().weight], features.map((f) => [said(f.label) || f.feature, num(f.importance)]), [1]],
        )
      : null;
  return el(
    "div",
    { class: "pair" },
    el(
      "figure",
      {},
      el("figcaption", {}, el("h3", {}, t().domain), el("p", { class: "hint" }, t().domainHint)),
      el("p", { class: "strong" }, verdict),
      el("p", {}, t().domainSays(per100(found.auc), per100(found.low), per100(found.high))),
    ),
    chart,
  );
}

function drawImportance(features) {
  const rows = [...features].reverse();
  plot(
    "cr-domain",
    [
      {
        type: "bar",
        orientation: "h",
        x: rows.map((f) => f.importance),
        y: rows.map((f) => said(f.label) || f.feature),
        marker: { color: BLUE },
        hovertemplate: "%{y}: %{x:.3f}<extra></extra>",
      },
    ],
    { showlegend: false, xaxis: { showgrid: true, gridcolor: FAINT, rangemode: "tozero", nticks: 5 }, yaxis: { type: "category" } },
  );
}

function segments(rows) {
  const more = [
    ["psi_inside", t().inside, (r) => num(r.psi_inside)],
    ["score_shift", t().scoreShift, (r) => (none(r.score_shift) ? "–" : `${signed(100 * r.score_shift)} ${t().points100}`)],
  ].filter(([name]) => rows.some((r) => !none(r[name])));
  const named = (r) => el("span", {}, segmentLabel(r), el("small", {}, segmentLevel(r)));
  const line = (r) => [named(r), pct(r.share_reference), pct(r.share_current), whole(r.n), num(r.psi), ...more.map(([, , shown]) => shown(r))];
  const head = [t().segment, t().then, t().today, t().volume, "PSI", ...more.map(([, text]) => text)];
  const caption = el("figcaption", {}, el("h3", {}, t().segments), el("p", { class: "hint" }, t().segmentsHint));
  return el("figure", { id: "cr-segments" }, caption, grid(head, rows.slice(0, 8).map(line), [1, 2, 3, 4, 5, 6]));
}

const segmentLabel = (r) => said(r.label) || label(r.column);
// as the run names them: "—" missing, "…" the rest; figures with the language's separators
const figuresIn = (text) => text.replace(/\d[\d,]*(\.\d+)?/g, (x) => short(Number(x.replaceAll(",", ""))));
const isRange = (r) => /^(≤|>|[\d.,]+ – )/.test(String(r.segment));
const segmentLevel = (r) =>
  r.segment === "—" ? t().absent : r.segment === "…" ? t().other : isRange(r) ? `${figuresIn(r.segment)} ${unitOf(r)}`.trim() : String(r.segment);
const unitOf = (r) => unit(feature(r.column).unit);

// what makes a loan strange, one column a line
function reason(c) {
  const name = said(c.label) || label(c.feature);
  if (!("value" in c)) return el("li", {}, name); // a report to mail names the columns only
  const more = [
    typeof c.value === "number" ? ` ${unit(feature(c.feature).unit)}` : "",
    none(c.typical) ? "" : ` (${t().usual}: ${value(c.typical)})`,
  ];
  return el("li", {}, `${name}: `, el("b", {}, value(c.value)), ...more);
}

// the row of the lender's file where the run knows it, else the place among the run's loans
function anomalies(rows) {
  const known = rows.every((r) => !none(r.source_row)),
    share = rows.every((r) => !none(r.stranger));
  const rarity = (r) => (!share ? num(r.score, 2) : r.stranger > 0 ? pct(r.stranger, 2) : t().nothing);
  const line = (r) => [
    String(known ? r.source_row : r.row),
    period(r.period),
    rarity(r),
    el("ul", { class: "reasons" }, (r.columns || []).slice(0, 3).map(reason)),
  ];
  const head = [known ? t().sourceRow : t().row, t().period, share ? t().stranger : t().strangeness, t().why];
  const table = (some) => grid(head, some.map(line), [0, 2]);
  const bare = rows.every((r) => (r.columns || []).every((c) => !("value" in c)));
  const hint = [t().anomaliesHint, known ? "" : t().placeHint, bare ? t().mailHint : ""].join(" ");
  const caption = el("figcaption", {}, el("h3", {}, t().anomalies), el("p", { class: "hint" }, hint));
  const rest = rows.length > 10 ? folded(`+ ${whole(rows.length - 10)}`, () => table(rows.slice(10))) : null;
  return el("figure", { id: "cr-anomalies" }, caption, table(rows.slice(0, 10)), rest);
}
