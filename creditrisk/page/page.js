// The page: what it begins with, its parts in order, and the two languages. Nothing is computed and nothing leaves the browser.
function side(name) {
  const found = data.alerts[name];
  return `${whole(found.n)} ${t().loans}` + (found.window ? ` (${t().upTo(...found.window.map(day))})` : "");
}

function pickLanguage(lang) {
  state.lang = lang;
  drawPage();
  document.getElementById(`cr-lang-${lang}`).focus();
}

function header() {
  const names = { es: "Español", en: "English" };
  const button = (lang) =>
    el("button", { id: `cr-lang-${lang}`, lang, "aria-pressed": String(lang === state.lang), onclick: () => pickLanguage(lang) }, names[lang]);
  const langs = el("div", { class: "langs", role: "group", "aria-label": "Idioma / Language" }, Object.keys(names).map(button));
  const about = el(
    "p",
    { class: "muted" },
    facts()
      .map((text, i) => [i ? " · " : "", el("span", {}, text)])
      .flat(),
  );
  const report = el("button", { id: "cr-report", class: "plain", onclick: downloadReport }, `↓ ${t().report}`);
  const print = el("button", { id: "cr-print", class: "plain", onclick: () => window.print() }, t().print);
  const tools = PARTS().length ? el("div", { class: "tools" }, report, print) : null;
  return el("header", {}, el("div", {}, el("h1", {}, t().title), about), el("div", { class: "side" }, langs, tools));
}

// whose loans, how many, of when
function facts() {
  const found = data.alerts,
    ran = data.about && (data.about.ended || data.about.started);
  if (!found) return [];
  const rejected = found.current.rejected ? `, ${whole(found.current.rejected)} ${t().rejected}` : "";
  return [
    said(found.label) || found.portfolio,
    `${t().reference}: ${side("reference")}`,
    `${t().now}: ${side("current")}${rejected}`,
    ran ? `${t().runOf} ${day(ran)}` : null,
  ].filter(Boolean);
}

// variables whose change an index explains belong to the first thing that is read
function explained() {
  const rows = (data.table || []).filter(
    (r) =>
      ["ROJO", "AMARILLO"].includes(r.severity) &&
      deflation(r.feature) &&
      deflation(r.feature).severity === "VERDE" &&
      !said(data.alerts.summary).includes(said(deflation(r.feature).index)),
  );
  return rows.map((r) =>
    el("p", {}, `${t().explained(label(r.feature), said(deflation(r.feature).index))} ${t().fromTo(num(r.psi), num(deflation(r.feature).psi))}`),
  );
}

// the light of the page is never milder than its worst alert: outcomes may be alarming where no variable changed
function worst() {
  const open = data.alerts.alerts.filter((a) => a.status !== "cleared").map((a) => a.severity);
  return ORDER.find((severity) => [data.alerts.verdict, ...open].includes(severity)) || data.alerts.verdict;
}

function verdict() {
  const text = said(data.alerts.summary),
    [, first, rest] = /^(.*?\.)\s+(?=[A-ZÁÉÍÓÚÑ¿«“\d])(.*)$/s.exec(text) || [null, text, ""];
  const what = el("p", { class: "what" }, el("span", { "aria-hidden": "true" }, `${MARK[worst()]} `), first);
  const advice = el("p", { class: "advice" }, el("b", {}, `${t().advice}: `), said(data.alerts.advice));
  return el(
    "section",
    { id: "cr-verdict", class: `verdict ${worst()}`, "aria-live": "polite" },
    what,
    rest ? el("p", {}, rest) : null,
    explained(),
    advice,
  );
}

function tiles() {
  const one = (s) =>
    el(
      "button",
      {
        class: `tile ${s}`,
        "data-severity": s,
        title: t().tileHint,
        "aria-pressed": String(state.only === s),
        onclick: () => only(state.only === s ? null : s),
      },
      el("b", {}, whole(data.alerts.counts[s] || 0)),
      el("span", {}, el("i", { "aria-hidden": "true" }, `${MARK[s]} `), t().tiles[s]),
    );
  return el("div", { class: "tiles" }, ["ROJO", "AMARILLO", "VERDE", "SIN_DATOS"].map(one));
}

function notes() {
  const split = data.alerts && t().split[data.alerts.mode.split("_")[0]],
    edges = limits().map((x) => num(x, 2));
  const method = t().method.map((text) => (typeof text === "string" ? text : text(...edges)));
  const measures = [t().psi(...edges), t().ks, t().js, t().v].map((text) => `${text}.`);
  const lines = [...method, split, ...measures, t().zoom].filter(Boolean);
  return el(
    "details",
    { class: "notes paper" },
    el("summary", {}, t().notes),
    lines.map((text) => el("p", {}, text)),
  );
}

const recent = () => !data.detail || data.detail.schema >= 2;
const drawn = () => Object.keys(detail.features).length > 0;

// each part with what it needs to be shown
const PARTS = () =>
  [
    ["variables", t().variables, table, data.table],
    ["evolution-part", t().evolution, evolution, data.log],
    ["distribution-part", t().distribution, distribution, drawn()],
    ["score-part", t().score, score, data.detail && recent()],
    ["performance-part", t().performance, performance, data.detail && recent()],
    ["population-part", t().population, population, data.detail && recent()],
    ["alerts-part", t().alerts, alerts, data.alerts],
    ["retraining-part", t().retraining, retraining, data.alerts && (recent() || data.alerts.retraining)],
  ].filter(([, , , there]) => there);

function safely(make) {
  try {
    return make() ?? [];
  } catch (error) {
    return el("div", { class: "notice" }, t().unreadable);
  }
}

function redraw(id, make) {
  const old = document.getElementById(id),
    fresh = safely(make);
  if (old) old.replaceWith(fresh);
}

function drawPage() {
  const root = document.getElementById("cr-root"),
    problems = data.problems.map((p) => el("div", { class: "notice", role: "alert" }, said(p)));
  if (window.Plotly) for (const node of root.querySelectorAll(".js-plotly-plot")) Plotly.purge(node);
  drawings.clear();
  root.lang = document.documentElement.lang = state.lang;
  root.dataset.drawn = "";
  document.title = t().title;
  const all = PARTS(),
    links = all.length
      ? el(
          "nav",
          { "aria-label": t().parts },
          all.map(([id, title]) => el("a", { href: `#cr-${id}` }, title)),
        )
      : [];
  const top = data.alerts ? [safely(verdict), safely(tiles)] : [];
  root.replaceChildren(
    ...[safely(header), problems, top, links, all.map(([, , make]) => safely(make)), recent() ? [] : note(t().old), all.length ? notes() : []].flat(
      2,
    ),
  );
  drawAll();
}

// a mail is forwarded: of the strange loans it names the columns, and no value
function mailed() {
  const bare = (loan) => ({ ...loan, columns: (loan.columns || []).map(({ feature, label }) => ({ feature, label })) });
  return detail.anomalies ? { ...data, detail: { ...detail, anomalies: detail.anomalies.map(bare) } } : data;
}

// the page as one file to mail: what it was made of, without what it has drawn
function downloadReport() {
  const element = (id) => document.getElementById(id).outerHTML;
  const held = JSON.stringify(mailed()).replaceAll("<", "\\u003c");
  const root = `<div id="cr-root" class="cr" data-lang="${state.lang}"></div><script id="cr-data" type="application/json">${held}</scr` + "ipt>";
  const body = [element("cr-style"), root, element("cr-plotly"), element("cr-script")].join("\n");
  const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${t().title}</title><link rel="icon" href="data:,">`;
  const name = `${(data.alerts || {}).portfolio || "monitoreo"}_${state.lang === "es" ? "informe" : "report"}.html`;
  save(name, "text/html;charset=utf-8", `<!doctype html>\n<html lang="${state.lang}">\n<head>${head}</head>\n<body>\n${body}\n</body>\n</html>\n`);
}

function start() {
  const root = document.getElementById("cr-root"),
    names = Object.keys(detail.features),
    query = new URLSearchParams(location.search);
  state.lang = query.get("lang") === "en" || (!query.get("lang") && root.dataset.lang === "en") ? "en" : "es";
  state.feature = ((data.table || []).find((r) => names.includes(r.feature)) || { feature: names[0] }).feature;
  if (query.has("token")) {
    query.delete("token");
    history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
  }
  forPaper();
  drawPage();
}
start();
