"use strict";
// Tables that scroll say so: their edges fade on the side that hides columns, and only they are stops of the Tab key.
const showEdges = (() => {
  const sizes = new ResizeObserver((changes) => changes.forEach((change) => mark(change.target.closest(".scroll"))));

  function mark(scroll) {
    const hidden = scroll.scrollWidth - scroll.clientWidth, label = scroll.getAttribute("aria-label").replace(/, scrolls sideways$/, "");
    scroll.parentNode.toggleAttribute("data-before", scroll.scrollLeft > 1);
    scroll.parentNode.toggleAttribute("data-after", scroll.scrollLeft < hidden - 1);
    scroll.setAttribute("aria-label", hidden > 1 ? label + ", scrolls sideways" : label);
    if (hidden > 1) scroll.tabIndex = 0;
    else scroll.removeAttribute("tabindex");
  }

  return (scroll) => {
    scroll.addEventListener("scroll", () => mark(scroll), { passive: true });
    sizes.observe(scroll);
    sizes.observe(scroll.firstElementChild);
  };
})();
document.querySelectorAll(".scroll").forEach(showEdges);

// The path browser. All text from the run is set with textContent; this script builds no markup from strings.
(() => {
  const PAGE = 20, PATHS = 24;
  const byId = (id) => document.getElementById(id);
  const holder = byId("browser");
  if (!holder) return;

  const meta = JSON.parse(byId("qrd-meta").textContent);
  const SPLITS = meta.splits, KEPT = 0;
  const ARMS = { zero_shot: "before training", trained: "after training" };
  const state = { index: null, matches: [], page: 0, search: 0 };
  const blocks = new Map();

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "text") node.textContent = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  async function unpack(id) {
    const packed = atob(JSON.parse(byId(id).textContent));
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function block(number) {
    if (!blocks.has(number)) blocks.set(number, unpack("qrd-block-" + number));
    return blocks.get(number);
  }

  async function story(question) {
    const rows = await block(Math.floor(question / meta.block_questions));
    return rows[question % meta.block_questions];
  }

  // --- filters -------------------------------------------------------------------------------------------------------

  function fill(id, names, first) {
    const select = byId(id);
    select.append(make("option", { value: "", text: first }));
    for (const [value, name] of names) select.append(make("option", { value, text: name }));
  }

  const numbered = (names) => names.map((name, number) => [String(number), name]);

  function fillFilters() {
    fill("q-task", numbered(meta.tasks), "any");
    fill("q-split", numbered(SPLITS), "any");
    fill("q-style", numbered(meta.styles), "any");
    fill("q-outcome", meta.outcomes.map((name, number) => [String(number), number === KEPT ? "kept" : "dropped: " + name]), "any");
    const results = [["all-right", "all right after training"], ["none-right", "none right after training"], ["differ", "students differ"]];
    meta.students.forEach((name, number) => {
      results.push(["better-" + number, name + ": newly right"], ["worse-" + number, name + ": newly wrong"]);
    });
    fill("q-result", results, "any");
  }

  function resultFits(codes, wanted) {
    if (!wanted) return true;
    if (!codes.length) return false;
    const after = codes.map((code) => code % 3);
    if (wanted === "all-right") return after.every((code) => code === 2);
    if (wanted === "none-right") return after.every((code) => code === 1);
    if (wanted === "differ") return after.includes(1) && after.includes(2);
    const [kind, number] = wanted.split("-");
    return codes[Number(number)] === (kind === "better" ? 3 * 1 + 2 : 3 * 2 + 1);
  }

  function filtersFit(question, wanted) {
    const index = state.index;
    if (wanted.task !== "" && index.task[question] !== Number(wanted.task)) return false;
    if (wanted.split !== "" && index.split[question] !== Number(wanted.split)) return false;
    if (wanted.style !== "" || wanted.outcome !== "") {
      const fits = ([style, outcome]) =>
        (wanted.style === "" || style === Number(wanted.style)) && (wanted.outcome === "" || outcome === Number(wanted.outcome));
      if (!index.paths[question].some(fits)) return false;
    }
    return resultFits(index.results[question], wanted.result);
  }

  function textOf(question, rows) {
    const parts = [state.index.id[question], state.index.text[question], state.index.about[question], state.index.gold[question]];
    if (rows) {
      const [choices, paths, answers, whole] = rows;
      if (whole) parts.push(whole);
      for (const choice of choices) parts.push(...choice);
      for (const path of paths) {
        parts.push(path[5], ...path[7]);
        if (path[6]) parts.push(path[6].map((piece) => piece[0]).join(""));
      }
      for (const answer of answers) parts.push(answer[3], answer[5] || "");
    }
    return parts.join("\n").toLowerCase();
  }

  async function find() {
    const search = ++state.search;
    const wanted = { task: byId("q-task").value, split: byId("q-split").value, style: byId("q-style").value };
    wanted.outcome = byId("q-outcome").value;
    wanted.result = byId("q-result").value;
    const words = byId("q-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const isDeep = byId("q-where").value === "all" && words.length > 0;
    const matches = [];
    for (let question = 0; question < meta.num_questions; question += 1) {
      if (!filtersFit(question, wanted)) continue;
      if (words.length) {
        if (isDeep && question % meta.block_questions === 0) byId("q-status").textContent = "Searching…";
        const text = textOf(question, isDeep ? await story(question) : null);
        if (search !== state.search) return;
        if (!words.every((word) => text.includes(word))) continue;
      }
      matches.push(question);
    }
    if (search !== state.search) return;
    state.matches = matches;
    state.page = 0;
    draw();
  }

  // --- the list ------------------------------------------------------------------------------------------------------

  function draw() {
    const pages = Math.max(1, Math.ceil(state.matches.length / PAGE));
    const shown = state.matches.slice(state.page * PAGE, (state.page + 1) * PAGE);
    byId("q-list").replaceChildren(...shown.map(entry));
    byId("q-list").setAttribute("start", String(state.page * PAGE + 1));
    const number = state.matches.length;
    byId("q-status").textContent = number === 0
      ? "No question fits; clear a filter or use fewer words."
      : `${number.toLocaleString("en")} of ${meta.num_questions.toLocaleString("en")} questions, page ${state.page + 1} of ${pages}`;
    byId("q-page").textContent = `Page ${state.page + 1} of ${pages}`;
    byId("q-previous").disabled = state.page === 0;
    byId("q-next").disabled = state.page >= pages - 1;
  }

  function summaryOf(question) {
    const index = state.index, parts = [meta.tasks[index.task[question]]];
    if (index.about[question]) parts.push(index.about[question]);
    parts.push(SPLITS[index.split[question]]);
    const paths = index.paths[question];
    if (paths.length) parts.push(`${paths.filter((path) => path[1] === KEPT).length} of ${paths.length} paths kept`);
    const codes = index.results[question];
    if (codes.length) parts.push(`${codes.filter((code) => code % 3 === 2).length} of ${codes.length} students right`);
    return parts;
  }

  function entry(question) {
    const panelId = "panel-" + question;
    const title = make("span", { class: "q-title", dir: "auto", text: state.index.text[question] });
    const about = make("span", { class: "q-about" }, ...summaryOf(question).map((text) => make("bdi", { class: "chip", text })));
    const button = make("button", { type: "button", "aria-expanded": "false", "aria-controls": panelId }, title, about);
    const panel = make("div", { id: panelId, class: "panel", hidden: "" });
    button.addEventListener("click", async () => {
      const isOpening = panel.hidden;
      button.setAttribute("aria-expanded", String(isOpening));
      panel.hidden = !isOpening;
      if (isOpening && !panel.hasChildNodes()) panel.append(...contents(question, await story(question)));
    });
    return make("li", {}, make("h3", {}, button), panel);
  }

  function contents(question, [choices, paths, answers, whole]) {
    const nodes = [make("p", { class: "q-id" }, "Id ", make("code", { text: state.index.id[question] }))];
    nodes.push(make("p", { class: "q-text", dir: "auto", text: whole ?? state.index.text[question] }));
    if (choices.length) {
      nodes.push(make("ul", { class: "choices" }, ...choices.map(([label, text]) => make("li", { dir: "auto", text: `${label}) ${text}` }))));
    }
    nodes.push(make("p", {}, "Gold answer ", make("strong", { dir: "auto", text: state.index.gold[question] })));
    if (answers.length) nodes.push(make("h4", { text: "Students' answers" }), make("div", { class: "answers" }, ...answers.map(answer)));
    if (paths.length) nodes.push(make("h4", { text: "Reasoning paths" }), ...somePaths(paths, 0));
    return nodes;
  }

  function somePaths(paths, from) {
    const nodes = paths.slice(from, from + PATHS).map(path);
    if (from + PATHS < paths.length) {
      const more = make("button", { type: "button", text: `Show more paths (${paths.length - from - PATHS} left)` });
      more.addEventListener("click", () => {
        const next = somePaths(paths, from + PATHS);
        more.replaceWith(...next);
        next[0].focus();
      });
      nodes.push(more);
    }
    return nodes;
  }

  function body(pieces) {
    if (pieces === null) return make("p", { class: "note", text: "Text left out of this file." });
    const names = ["", "answer read", "failing step"];
    const parts = pieces.map(([text, mark]) => (mark
      ? make("mark", { class: mark === 1 ? "m-answer" : "m-step", title: names[mark] }, make("span", { class: "sr-only", text: `[${names[mark]}: ` }), text, make("span", { class: "sr-only", text: "]" }))
      : document.createTextNode(text)));
    return make("div", { class: "path-text", dir: "auto" }, ...parts);
  }

  function path([style, teacher, sample, outcome, quality, id, pieces, findings, routes]) {
    const isKept = outcome === KEPT;
    const verdict = isKept ? `kept, quality ${quality.toFixed(2)}` : meta.outcomes[outcome];
    const head = make("p", { class: "path-head" },
      make("strong", { text: meta.styles[style] }), " ",
      make("span", { class: isKept ? "badge good" : "badge bad", text: (isKept ? "✓ " : "✕ ") + verdict }), " ",
      make("span", { class: "q-about", text: `${meta.teachers[teacher]}, sample ${sample}, path ${id}` }));
    const nodes = [head, body(pieces), make("ul", { class: "findings" }, ...findings.map((text) => make("li", { dir: "auto", text })))];
    if (routes.length) nodes.push(routeTable(routes));
    return make("article", { class: isKept ? "path kept" : "path dropped", tabindex: "-1", "aria-label": `${meta.styles[style]} path, ${verdict}` }, ...nodes);
  }

  function routeTable(routes) {
    const head = ["Student", "Routed", "Gate probability, first to last", "Mean utility"];
    const rows = routes.map(([student, routed, decisions, first, last, utility]) => make("tr", {},
      make("th", { scope: "row", text: meta.students[student] }), make("td", { text: `${routed} of ${decisions}` }),
      make("td", { text: `${first.toFixed(2)} → ${last.toFixed(2)}` }), make("td", { text: utility === null ? "not measured" : utility.toFixed(2).replace("-", "−") })));
    const table = make("table", { class: "routes" }, make("caption", { class: "sr-only", text: "Routing of this path" }),
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", text })))), make("tbody", {}, ...rows));
    const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table: routing of this path" }, table);
    showEdges(scroll);
    return make("div", { class: "edges" }, scroll);
  }

  function answer([student, arm, verdict, extracted, isCut, text]) {
    const isRight = verdict === "match", name = meta.arms[arm];
    const said = (isRight ? "✓ right" : verdict === "differ" ? "✕ wrong" : "? " + verdict) + (extracted ? `, read ${extracted}` : "");
    const head = make("p", { class: "path-head" }, make("strong", { text: meta.students[student] }), " ", ARMS[name] || name, " ",
      make("span", { class: isRight ? "badge good" : "badge bad", text: said }), isCut ? " cut off at the token limit" : "");
    return make("article", { class: isRight ? "path kept" : "path dropped" }, head, body(text === null ? null : [[text, 0]]));
  }

  // --- start ---------------------------------------------------------------------------------------------------------

  function turn(by) {
    state.page += by;
    draw();
    holder.scrollIntoView();
    const first = byId("q-list").querySelector("button");
    if (first) first.focus({ preventScroll: true });
  }

  async function start() {
    holder.hidden = false;
    if (typeof DecompressionStream === "undefined") {
      byId("q-status").textContent = "This browser is too old to unpack the questions; report.md, in the same folder, shows samples.";
      return;
    }
    state.index = await unpack("qrd-index");
    fillFilters();
    let timer = 0;
    byId("q-text").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 150); });
    for (const id of ["q-where", "q-task", "q-split", "q-style", "q-outcome", "q-result"]) byId(id).addEventListener("change", find);
    byId("q-previous").addEventListener("click", () => turn(-1));
    byId("q-next").addEventListener("click", () => turn(1));
    byId("q-reset").addEventListener("click", () => {
      for (const select of holder.querySelectorAll("select")) select.selectedIndex = 0;
      byId("q-text").value = "";
      find();
    });
    await find();
    document.documentElement.dataset.browser = "ready";
  }

  start();
})();
