"use strict";
// Sorts and filters the leaderboard, and finds and opens single requests. Text from the run is only set as text nodes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const make = (tag, text, attributes) => {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    for (const name in attributes || {}) node.setAttribute(name, attributes[name]);
    return node;
  };
  const draw = (tag, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in attributes) node.setAttribute(name, attributes[name]);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  for (const node of document.querySelectorAll(".scripted")) node.hidden = false;

  // --- the leaderboard

  const board = document.getElementById("board");
  const heads = [...board.tHead.rows[0].cells];
  const body = board.tBodies[0];
  const keyOf = (cell, kind) => {
    if (kind === "name") return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === undefined ? null : cell.dataset.value === "inf" ? Infinity : Number(cell.dataset.value);
  };
  const sortBy = (place) => {
    const head = heads[place];
    const before = head.getAttribute("aria-sort");
    const first = head.dataset.better === "higher" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const now = before === first ? other : first;
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", now);
    const sign = now === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => [keyOf(row.cells[place], head.dataset.sort), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return a < b ? -sign : a > b ? sign : 0;
    });
    body.append(...keyed.map(([, row]) => row));
  };
  heads.forEach((head, place) => {
    const button = make("button", head.textContent, { type: "button" });
    button.addEventListener("click", () => sortBy(place));
    head.replaceChildren(button);
  });
  heads[0].setAttribute("aria-sort", "ascending");
  const filter = document.getElementById("model-filter");
  const models = body.querySelectorAll("tr");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of models) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    document.getElementById("model-count").textContent = wanted ? `${shown} of ${models.length} models` : "";
  });

  // --- the requests

  const home = document.getElementById("explorer");
  if (!home) return;
  document.getElementById("static").remove();
  const STEP = 50;
  const rows = data.rows.map((row) => Object.fromEntries(data.fields.map((name, place) => [name, row[place]])));
  for (const row of rows) {
    const words = [`#${row.seq}`, data.prompts[row.prompt], data.models[row.model], data.outcomes[row.outcome]];
    if (row.message >= 0) words.push(data.words[row.message]);
    for (const [kind, fact] of row.findings) words.push(data.findings[kind], data.words[fact]);
    row.words = words.join(" ").toLowerCase();
  }
  const shownNumber = (value) => {
    if (value === null) return "-";
    const size = Math.abs(value);
    const digits = size < 10 ? 2 : size < 100 ? 1 : 0;
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  const control = (id) => document.getElementById(id);
  const options = (id, names) =>
    names.forEach((name, place) => control(id).append(make("option", name, { value: String(place) })));
  options("by-model", data.models);
  options("by-outcome", data.outcomes);

  const table = make("table");
  const headRow = make("tr");
  for (const [name, kind] of [["Timeline"], ["No.", "n"], ["Model"], ["Prompt"], ["Outcome"], ["TTFT, ms", "n"], ["E2E, ms", "n"],
    ["tok/s", "n"], ["longest gap, ms", "n"], ["Chunks", "n"], ["Findings"]]) {
    headRow.append(make("th", name, kind ? { scope: "col", class: kind } : { scope: "col" }));
  }
  const head = make("thead");
  head.append(headRow);
  const list = make("tbody");
  table.append(head, list);
  const wide = make("div", null, { class: "wide", tabindex: "0", role: "region", "aria-label": "Requests, table" });
  wide.append(table);
  home.append(wide);

  const isolated = (tag, text, attributes) => {
    const cell = make(tag, null, attributes);
    cell.append(make("bdi", text));
    return cell;
  };
  const rowOf = (row) => {
    const line = make("tr", null, { "data-seq": String(row.seq) });
    const cell = make("td");
    const button = make("button", "open", { type: "button", class: "open", "aria-expanded": "false",
      "aria-label": `open request ${row.seq}` });
    button.addEventListener("click", () => toggle(row, line, button));
    cell.append(button);
    line.append(cell, make("td", String(row.seq), { class: "n" }));
    line.append(isolated("th", data.models[row.model], { scope: "row" }));
    const repeat = row.repeat ? ` (repeat ${row.repeat + 1})` : "";
    line.append(isolated("td", data.prompts[row.prompt] + repeat));
    line.append(make("td", data.outcomes[row.outcome]));
    for (const value of row.numbers) line.append(make("td", shownNumber(value), { class: "n" }));
    line.append(make("td", String(row.chunks), { class: "n" }));
    line.append(make("td", row.findings.map(([kind]) => data.findings[kind]).join(", ")));
    return line;
  };
  const toggle = (row, line, button) => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    button.textContent = open ? "open" : "close";
    button.setAttribute("aria-label", `${open ? "open" : "close"} request ${row.seq}`);
    if (open) {
      line.nextSibling.remove();
      return;
    }
    const cell = make("td", null, { colspan: String(headRow.cells.length) });
    cell.append(lane(row), facts(row));
    const more = make("tr", null, { class: "opened" });
    more.append(cell);
    line.after(more);
  };
  const facts = (row) => {
    const box = make("ul", null, { class: "facts" });
    const say = (text) => {
      const item = make("li");
      item.append(make("bdi", text));
      box.append(item);
    };
    say(`${data.outcomes[row.outcome]}: ${data.meanings[row.outcome]}`);
    if (row.message >= 0) say(data.words[row.message]);
    for (const [kind, fact] of row.findings) say(`${data.findings[kind]}: ${data.words[fact]}`);
    if (row.attempt > 1) say(`this is attempt ${row.attempt}`);
    if (row.kinds.length < row.chunks) say(`the timeline shows ${row.kinds.length} of ${row.chunks} chunks`);
    if (row.trace) {
      const item = make("li");
      if (data.trace_url) {
        const href = data.trace_url.split("{trace_id}").join(encodeURIComponent(row.trace));
        item.append(make("a", `trace ${row.trace}`, { href, rel: "noopener noreferrer", target: "_blank" }));
      } else item.textContent = `trace ${row.trace}`;
      box.append(item);
    }
    return box;
  };

  // Draws one request: a bar until the first output, then a mark for each chunk, taller for output. Times: 0.1 ms.
  const lane = (row) => {
    const [queue, sent, headers, end] = row.phases;
    const wide = 900, left = 10, mid = 34, tall = 18;
    const total = Math.max(end || 0, 1);
    const x = (at) => left + (at / total) * (wide - 2 * left);
    const box = make("div", null, { class: "wide", tabindex: "0", role: "region", "aria-label": `chunks of request ${row.seq}` });
    let at = 0;
    const times = row.deltas.map((delta) => (at += delta));
    const first = times.find((_, place) => "tcfx".includes(row.kinds[place]));
    const told = first === undefined ? "no output came" : `first output after ${shownNumber(first / 10)} ms`;
    const svg = draw("svg", { class: "lane mark", viewBox: `0 0 ${wide} 76`, role: "img",
      "aria-label": `Request ${row.seq}: ${row.chunks} chunks in ${shownNumber(total / 10)} ms, ${told}` });
    svg.append(draw("line", { class: "axis", x1: left, x2: wide - left, y1: mid, y2: mid }));
    const until = first === undefined ? total : first;
    svg.append(draw("rect", { class: "wait", x: left, y: mid - 4, width: Math.max(0, x(until) - left), height: 8 }));
    for (const [when, name] of [[sent, "sent"], [headers, "headers"]]) {
      if (when === null) continue;
      const mark = draw("line", { class: "end", x1: x(when), x2: x(when), y1: mid - 8, y2: mid + 8 });
      mark.append(draw("title", {}, `${name} at ${shownNumber(when / 10)} ms`));
      svg.append(mark);
    }
    times.forEach((when, place) => {
      const kind = row.kinds[place];
      const output = "tcfx".includes(kind);
      const size = output ? tall : tall / 2;
      const mark = draw("rect", { x: x(when) - 0.9, y: mid - size, width: 1.8, height: 2 * size,
        fill: data.colours[row.model], "fill-opacity": kind === "c" ? "1" : "0.55" });
      mark.append(draw("title", {}, `${data.kinds[kind]} at ${shownNumber(when / 10)} ms`));
      svg.append(mark);
    });
    svg.append(draw("line", { class: "end", x1: x(total), x2: x(total), y1: mid - tall, y2: mid + tall }));
    svg.append(draw("text", { x: left, y: 70 }, queue ? `start, after ${shownNumber(queue / 10)} ms in the queue` : "start"));
    if (first !== undefined) {
      const near = x(first) > wide * 0.75;
      if (x(first) > 90) svg.append(draw("text", { x: x(first), y: 12, "text-anchor": near ? "end" : "start" },
        `first output ${shownNumber(first / 10)} ms`));
    }
    svg.append(draw("text", { x: wide - left, y: 70, "text-anchor": "end" }, `end ${shownNumber(total / 10)} ms`));
    box.append(svg);
    return box;
  };

  let found = rows;
  let shown = 0;
  const more = control("more");
  const showMore = () => {
    list.append(...found.slice(shown, shown + STEP).map(rowOf));
    shown = Math.min(found.length, shown + STEP);
    more.parentElement.hidden = shown >= found.length;
    control("found").textContent = `${found.length} of ${rows.length} requests${shown < found.length ? `, ${shown} shown` : ""}`;
  };
  const find = () => {
    const wanted = control("q").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const model = control("by-model").value, outcome = control("by-outcome").value, order = control("by-order").value;
    found = rows.filter((row) => (model === "" || row.model === Number(model)) &&
      (outcome === "" || row.outcome === Number(outcome)) && wanted.every((word) => row.words.includes(word)));
    if (order !== "seq") {
      const of = (row) => (row.numbers[Number(order)] === null ? -1 : row.numbers[Number(order)]);
      found.sort((a, b) => of(b) - of(a));
    }
    shown = 0;
    list.replaceChildren();
    showMore();
  };
  more.addEventListener("click", showMore);
  control("explorer-form").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["q", "by-model", "by-outcome", "by-order"]) control(id).addEventListener("input", find);
  find();
})();
