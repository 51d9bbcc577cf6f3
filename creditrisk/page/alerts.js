// What fired, what became of it, and whether to retrain.
const causeOf = (a) => t().causes[a.cause] || a.cause || "";

function alertCard(a) {
  const status = a.status && el("span", { class: `status ${a.status}` }, t().statuses[a.status] || a.status);
  const evidence = said(a.evidence),
    change = said(a.change),
    told = (text) => text && evidence.toLowerCase().includes(text.toLowerCase().replace(/\.$/, ""));
  const facts = [causeOf(a), a.since ? `${t().sinceWhen} ${period(a.since)}` : null, none(a.psi) || evidence ? null : `PSI ${num(a.psi)}`]
    .filter(Boolean)
    .join(" · ");
  const off = a.feature && deflation(a.feature),
    line = off ? t().deflatedShort(said(off.index), num(off.psi), t()[off.severity].toLowerCase()) : null;
  return el(
    "li",
    { class: a.severity },
    el("p", {}, light(a.severity), " ", el("b", {}, said(a.label) || a.feature), " ", status, el("span", { class: "muted" }, ` ${facts}`)),
    change && !told(change) ? el("p", {}, change) : null,
    evidence ? el("p", {}, evidence) : null,
    line && !evidence ? el("p", {}, line) : null,
    el("p", { class: "muted" }, el("b", {}, `${t().action}: `), said(a.action)),
  );
}

// those that are told of the alerts and could not be reached
function unsent(sinks) {
  const dead = sinks.filter((s) => s.error || s.refused),
    waiting = dead.reduce((n, s) => n + (s.waiting || 0), 0);
  return dead.length ? el("div", { class: "notice" }, t().unsent(dead.map((s) => t().sinks[s.sink] || s.sink).join(", "), whole(waiting))) : null;
}

function alerts() {
  const all = data.alerts.alerts,
    open = all.filter((a) => a.status !== "cleared"),
    cleared = [...(data.alerts.cleared || []), ...all.filter((a) => a.status === "cleared")];
  return part(
    "alerts-part",
    t().alerts,
    t().alertsHint,
    open.length ? el("ul", { id: "cr-alerts", class: "alerts" }, open.map(alertCard)) : el("p", { class: "absent" }, t().none),
    cleared.length ? el("p", { class: "remark" }, `${t().cleared}: ${cleared.map((a) => said(a.label) || label(a.feature)).join(", ")}.`) : null,
    unsent(data.alerts.sinks || []),
    alertHistory(),
  );
}

function alertHistory() {
  if (!data.alerts.history) return null;
  const rows = [...data.alerts.history].sort((a, b) => String(b.at).localeCompare(String(a.at)));
  const yes = (x) => (none(x) ? "" : /^(yes|true)$/i.test(String(x)) ? t().yes : t().no);
  const body = rows.map((r) => [
    day(r.at),
    label(r.feature),
    light(r.severity),
    causeOf(r),
    t().statuses[r.status] || r.status || "",
    period(r.since),
    yes(r.notified ?? r.notify),
    r.run || "",
  ]);
  const table = grid([t().at, t().variable, t().state, t().cause, t().status, t().since, t().notified, t().run], body, [], "cr-history");
  return el(
    "details",
    { class: "paper", open: rows.length && rows.length <= 12 ? "" : null },
    el("summary", {}, el("h3", {}, `${t().history} (${whole(rows.length)})`)),
    el("p", { class: "hint" }, rows.length ? t().historyHint : t().noHistory),
    rows.length ? table : null,
  );
}

// whether to retrain, and what was found on each question that decides it
function retraining() {
  const found = data.alerts.retraining;
  if (!found) return part("retraining-part", t().retraining, null, el("p", { class: "strong" }, said(data.alerts.advice)), note(t().noRetraining));
  const seen = found.evidence || {},
    named = (names, nobody) => (names.length ? names.map(label).join(", ") : nobody),
    area = (r) => `${num(r.auc)} (${range(r.auc_low, r.auc_high, num)})`;
  const rows = [
    seen.faults ? [t().faults, named(seen.faults, t().noFaults)] : null,
    seen.lasting ? [t().lasting, named(seen.lasting, t().nothing)] : null,
    none(seen.score_moved) ? null : [t().moved, seen.score_moved ? t().yes : t().no],
    seen.reference && seen.current && !none(seen.current.auc)
      ? [t().order, t().orderSays(area(seen.reference), area(seen.current), whole(seen.current.bads))]
      : null,
  ].filter(Boolean);
  return part(
    "retraining-part",
    t().retraining,
    null,
    el("p", { class: "strong" }, found.advised ? t().retrainYes : t().retrainNo),
    el("p", {}, sentence(said(found.why))),
    rows.length ? grid([t().criterion, t().finding], rows, [], "cr-evidence") : null,
  );
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
