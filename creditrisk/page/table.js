// The table of the variables: traffic lights, sorting, the variable that is shown below, and the same as a CSV.
const MEASURES = ["psi", "ks", "js", "cramers_v"];
const startOf = (name) => (((data.alerts || {}).alerts || []).find((a) => a.feature === name) || {}).since;
const deflation = (name) => {
  const found = feature(name).deflated;
  return found && !none(found.psi) ? found : null;
};
const changeOf = (row) => row[`change_${state.lang}`] || "";

function columns() {
  return [
    ["feature", t().variable, (r) => label(r.feature).toLowerCase()],
    ["severity", t().state, (r) => -ORDER.indexOf(r.severity)],
    ["change", t().change, (r) => changeOf(r).toLowerCase()],
    ["since", t().since, (r) => startOf(r.feature) || ""],
    ["missing_current", t().missing],
    ["psi", "PSI", null, t().psi(...limits().map((x) => num(x, 2)))],
    ["ks", "KS", null, t().ks],
    ["js", "JS", null, t().js],
    ["cramers_v", "V", null, t().v],
  ];
}

function sortedRows() {
  const rows = data.table.filter((r) => !state.only || r.severity === state.only);
  if (!state.sort) return rows;
  const key = columns().find((c) => c[0] === state.sort)[2] || ((r) => r[state.sort] ?? -1);
  return [...rows].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (state.down ? -1 : 1));
}

function sortBy(name) {
  state.down = state.sort === name ? !state.down : !["feature", "since", "change"].includes(name);
  state.sort = name;
  redraw("cr-variables", table);
  document.querySelector(`#cr-table th[data-column=${name}] button`).focus();
}

function told(row) {
  const off = deflation(row.feature);
  return [changeOf(row), off ? el("small", {}, t().deflatedShort(said(off.index), num(off.psi), t()[off.severity].toLowerCase())) : null];
}

function tableRow(row) {
  const cell = (name, text, kind = "") => el("td", { class: kind, "data-label": text }, name);
  const choose = el(
    "button",
    {
      class: "name",
      onclick: (e) => {
        e.stopPropagation();
        pick(row.feature);
      },
    },
    label(row.feature),
  );
  const cells = columns().map(([name, text]) => {
    if (name === "feature") return el("td", {}, choose, el("small", {}, row.feature));
    if (name === "severity") return cell(light(row.severity), text);
    if (name === "change") return cell(told(row), changeOf(row) || deflation(row.feature) ? text : "", "change");
    if (name === "since") return cell(period(startOf(row.feature)), startOf(row.feature) ? text : "", "since");
    return cell(name === "missing_current" ? pct(row[name]) : num(row[name]), text, `num ${name}`);
  });
  return el("tr", { class: row.feature === state.feature ? "picked" : "", "data-feature": row.feature, onclick: () => pick(row.feature) }, cells);
}

function table() {
  const head = columns().map(([name, text, , hint]) => {
    const order = state.sort === name ? (state.down ? "descending" : "ascending") : null;
    return el(
      "th",
      {
        class: MEASURES.includes(name) || name === "missing_current" ? "num" : "",
        scope: "col",
        title: hint,
        "aria-sort": order,
        "data-column": name,
      },
      el("button", { onclick: () => sortBy(name) }, text),
    );
  });
  const filter = state.only && el("button", { class: "plain", onclick: () => only(null) }, `${MARK[state.only]} ${t()[state.only]} · ${t().clear} ✕`);
  const tools = el("div", { class: "tools" }, el("button", { id: "cr-csv", class: "plain", onclick: downloadTable }, `↓ ${t().csv}`), filter);
  return part(
    "variables",
    t().variables,
    t().variablesHint,
    tools,
    el(
      "div",
      { class: "scroll tall", tabindex: "0", role: "region", "aria-label": t().variables },
      el("table", { id: "cr-table" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, sortedRows().map(tableRow))),
    ),
  );
}

function only(severity) {
  state.only = severity;
  for (const tile of document.querySelectorAll(".cr .tile")) tile.setAttribute("aria-pressed", String(tile.dataset.severity === severity));
  redraw("cr-variables", table);
}

// spreadsheets in Spanish expect ; between cells and a decimal comma; a text that begins like a formula is kept a text
function csvOf(rows) {
  const [between, comma] = state.lang === "es" ? [";", ","] : [",", "."];
  const cell = (x) =>
    none(x) ? "" : typeof x === "number" ? String(x).replace(".", comma) : `"${(/^[=+\-@\t]/.test(x) ? `'${x}` : x).replaceAll('"', '""')}"`;
  return `\ufeff${rows.map((row) => row.map(cell).join(between)).join("\r\n")}\r\n`;
}

function downloadTable() {
  const names = columns(),
    off = (r) => (deflation(r.feature) || {}).psi;
  const cell = (r, name) =>
    name === "feature"
      ? label(r.feature)
      : name === "severity"
        ? t()[r.severity]
        : name === "change"
          ? changeOf(r)
          : name === "since"
            ? startOf(r.feature) || ""
            : r[name];
  const rows = [
    [
      ...names.map((c) => c[1]),
      `PSI (${t()
        .deflated("")
        .replace(/[: ]+$/, "")
        .toLowerCase()})`,
      "feature",
    ],
    ...sortedRows().map((r) => [...names.map(([name]) => cell(r, name)), off(r), r.feature]),
  ];
  save(`${(data.alerts || {}).portfolio || "monitoreo"}_variables_${state.lang}.csv`, "text/csv;charset=utf-8", csvOf(rows));
}
