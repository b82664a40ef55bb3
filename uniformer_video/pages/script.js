"use strict";
// The script of the report page: classes to sort and find, a matrix to zoom, and from a class or a cell to its
// videos. All that it shows is in the page already: blocks of JSON, see page_data.py. Text reaches the page as
// text only, never as markup. Without this script the page is complete but for the rows of the single videos.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const number = (value) => value.toLocaleString("en");
  const noun = document.body.dataset.noun;  // "video" or "image"
  const percent = (share) => `${(100 * share).toFixed(1)}%`;

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function button(label, action, properties = {}) {
    const element = make("button", { type: "button", ...properties }, label);
    element.addEventListener("click", action);
    return element;
  }

  function read(id) {
    const block = document.getElementById(id);
    return block ? JSON.parse(block.textContent) : null;
  }

  // Tables of classes: sorted by any column, and a field that finds a class.

  const collator = new Intl.Collator("en", { numeric: true });

  function compare(first, second, isNumeric) {
    if (!isNumeric) return collator.compare(first, second);
    return parseFloat(first.replace(/,/g, "")) - parseFloat(second.replace(/,/g, ""));
  }

  function sortRows(table, column, heading) {
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const isNumeric = heading.classList.contains("num");
    const textOf = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows].map((row) => [textOf(row), row]);
    const isAbsent = ([text]) => isNumeric && Number.isNaN(parseFloat(text));
    rows.sort((a, b) => isAbsent(a) - isAbsent(b) || (isAbsent(a) ? 0 : direction * compare(a[0], b[0], isNumeric)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
    for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }

  function makeFinder(table, showClass) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      if (heading.classList.contains("bar") || !heading.textContent.trim()) return;
      const label = heading.textContent;
      heading.replaceChildren(button(label, () => sortRows(table, column, heading), { className: "sort" }));
    });
    const rows = [...table.tBodies[0].rows];
    if (showClass) {
      for (const row of rows) {
        const name = $("th > span", row);
        if (!name || row.dataset.class === undefined) continue;
        const title = `Show the ${noun}s of this class`;
        name.replaceWith(button(name.textContent, () => showClass(+row.dataset.class), { className: "link", title }));
      }
    }
    if (rows.length <= 9) return;
    const box = table.closest(".scroll"), hint = box.previousElementSibling;
    const field = make("input", { type: "search" }), count = make("span");
    count.setAttribute("role", "status");
    field.addEventListener("input", () => {
      const words = field.value.trim().toLowerCase();
      let found = 0;
      for (const row of rows) {
        const name = $("button, span", row.cells[0]) ?? row.cells[0];
        row.hidden = !name.textContent.toLowerCase().includes(words);
        found += !row.hidden;
      }
      box.scrollTop = 0;
      count.textContent = `${number(found)} of ${number(rows.length)} found`;
    });
    const tools = make("div", { className: "tools" }, make("label", {}, "Find a class ", field), count);
    (hint?.matches(".hint") ? hint : box).before(tools);
  }

  // The rows of the videos.

  const PAGE_SIZE = 10;

  function makeVideos(section, data) {
    const { classes, width, several } = data;
    const rows = data.names.length;
    const control = (name) => $(`[name=${name}]`, section);
    const [words, truth, said, wrong] = ["words", "truth", "said", "wrong"].map(control);
    let strips = null, texts = null, found = [], page = 0;

    const isOf = (row, index) => (several ? data.truth[row].includes(index) : data.truth[row] === index);
    const best = (row) => data.top[row * width];
    const rank = new Map(data.wrong.map((row, place) => [row, place])); // of several labels: surest first
    const isWrong = (row) => (several ? rank.has(row) : best(row) >= 0 && !isOf(row, best(row)));
    const nameOf = (row) => data.folders[data.folder[row]] + data.names[row] + data.suffix;
    const truthOf = (row) => (several ? data.truth[row].map((index) => classes[index]).join(", ") || "no label" : classes[data.truth[row]]);
    const answers = (row) => {
      const found = [];
      for (let at = row * width; at < (row + 1) * width && data.top[at] >= 0; at++) found.push([data.top[at], data.scores[at]]);
      return found;
    };
    const isSaid = (row, index) => (several ? answers(row).some(([one]) => one === index) : best(row) === index);

    function search(keepPage = false) {
      const asked = words.value.trim().toLowerCase();
      if (asked && !texts) texts = data.names.map((_, row) => `${nameOf(row)}\n${truthOf(row)}\n${classes[best(row)] ?? ""}`.toLowerCase());
      found = [];
      for (let row = 0; row < rows; row++) {
        if (truth.value !== "" && !isOf(row, +truth.value)) continue;
        if (said.value !== "" && !isSaid(row, +said.value)) continue;
        if (wrong.checked && !isWrong(row)) continue;
        if (asked && !texts[row].includes(asked)) continue;
        found.push(row);
      }
      if (several && wrong.checked) found.sort((a, b) => rank.get(a) - rank.get(b));
      else if (wrong.checked || said.value !== "") found.sort((a, b) => data.scores[b * width] - data.scores[a * width]);
      if (!keepPage) page = 0;
      show();
    }

    function stripOf(place) {
      strips ??= read("strips");
      const shown = $(`article[data-place="${place}"] img.strip`);
      return shown ? shown.src : strips[place] ? `data:image/jpeg;base64,${strips[place]}` : null;
    }

    function original(row) {
      const [address, start, end] = data.beside[row];
      const holder = make("p", { className: "original" });
      holder.append(button("Show the original", () => {
        const part = start || end ? `#t=${start}${end ? `,${end}` : ""}` : "";
        const shown = noun === "image"
          ? make("img", { src: address, alt: nameOf(row) })
          : make("video", { controls: true, muted: true, autoplay: true, loop: true, src: address + part });
        shown.addEventListener("error", () => shown.replaceWith(`This browser cannot ${noun === "image" ? "show" : "play"} it: `), { once: true });
        holder.replaceChildren(shown, make("a", { href: address }, "open the file"));
      }));
      return holder;
    }

    function item(row) {
      const uri = stripOf(data.places ? data.places[row] : row);
      const strip = uri ? make("img", { src: uri, alt: "", className: "still" }) : make("span", { className: "small still none" }, noun === "image" ? "no picture in this page" : "no frames in this page");
      const told = answers(row).map(([index, score]) => {
        const line = make("li", { className: isOf(row, index) ? "is-true" : "" }, `${classes[index]} `);
        line.append(make("span", { className: "share" }, percent(score / 1000)), isOf(row, index) ? " (true)" : "");
        return line;
      });
      const text = make("div", {}, make("p", { className: "name" }, nameOf(row)), make("p", {}, `true: ${truthOf(row)}`));
      text.append(told.length ? make("ol", { className: "five" }, ...told) : make("p", { className: "small" }, "could not be read"));
      if (data.beside[row]) text.append(original(row));
      return make("li", {}, strip, text);
    }

    function show() {
      const first = page * PAGE_SIZE, last = Math.min(found.length, first + PAGE_SIZE);
      $(".found", section).replaceChildren(...found.slice(first, last).map(item));
      const range = found.length ? `, ${number(first + 1)} to ${number(last)} shown` : "";
      $("[role=status]", section).textContent = `${number(found.length)} of ${number(rows)} ${noun}s${range}.`;
      $(".pager span", section).textContent = found.length ? `page ${number(page + 1)} of ${number(Math.ceil(found.length / PAGE_SIZE))}` : "";
      control("previous").disabled = page === 0;
      control("next").disabled = last >= found.length;
    }

    function turn(by) {
      page += by;
      show();
      section.scrollIntoView();
    }

    function ask(values) {
      [words.value, truth.value, said.value, wrong.checked] = [values.words ?? "", values.truth ?? "", values.said ?? "", values.wrong ?? false];
      search();
    }

    function go(values) {
      ask(values);
      section.scrollIntoView();
      $("h2", section).focus({ preventScroll: true });
    }

    for (const select of [truth, said]) {
      classes.forEach((name, index) => select.append(make("option", { value: index }, name)));
      select.addEventListener("change", () => search());
    }
    words.addEventListener("input", () => search());
    wrong.addEventListener("change", () => search());
    control("reset").addEventListener("click", () => ask({}));
    control("previous").addEventListener("click", () => turn(-1));
    control("next").addEventListener("click", () => turn(1));
    if (several) $(".said", section).textContent = "Among the best";
    const lead = rows < data.total
      ? `Name, true class and the ${width} best answers of ${number(rows)} of ${number(data.total)} ${noun}s; the rows of ${number(data.total - rows)} do not fit into this page and are in results.json.`
      : `Name, true class and the ${width} best answers of every ${noun}.`;
    $(".lead", section).textContent = lead;
    $("h2", section).tabIndex = -1;
    section.hidden = false;
    search();
    const rowOf = new Map((data.places ?? []).map((place, row) => [place, row]));

    function offerOriginal(card) {
      const row = data.places ? rowOf.get(+card.dataset.place) : +card.dataset.place;
      if (data.beside[row]) card.append(original(row));
    }

    if (!$("img.strip") && $("#strips").textContent === "{}") section.classList.add("plain");
    return { go, offerOriginal };
  }

  // The matrix of many classes, drawn from its counts.

  function makeMatrix(holder, counts, classes, list) {
    const total = classes.length;
    const leastShare = Number(holder.dataset.leastShare ?? 0); // of pixels, of which nearly every cell has some
    const columnsOf = classes.map(() => new Map());
    for (const [row, column, count] of counts) columnsOf[row].set(column, count);
    const videosOf = columnsOf.map((columns) => [...columns.values()].reduce((sum, count) => sum + count, 0));
    const canvas = make("canvas", { tabIndex: 0 });
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Confusion matrix of ${total} classes. Arrow keys go from cell to cell, plus and minus zoom, 0 shows all${list ? `, Enter lists the ${noun}s of a cell` : ""}.`);
    const status = make("p", { className: "small" }, `Point at a cell to read it${list ? `; click it for its ${noun}s` : ""}. The wheel, two fingers or + and - zoom.`);
    status.setAttribute("role", "status");
    const view = { row: 0, column: 0, span: total };
    const pointers = new Map();
    let cell = null, side = 0, left = 0, moved = false, pinch = 0;

    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
    const size = () => side / view.span;

    function colours() {
      const style = getComputedStyle(document.documentElement);
      return Object.fromEntries(["accent", "warm", "ink", "muted", "line", "card"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    }

    // Names of classes often begin alike, so that their ends tell them apart.
    function shorten(pen, text, width) {
      if (pen.measureText(text).width <= width) return text;
      const part = (length) => `${text.slice(0, Math.ceil(length / 2))}\u2026${text.slice(text.length - Math.floor(length / 2))}`;
      let length = text.length - 1;
      while (length > 2 && pen.measureText(part(length)).width > width) length--;
      return part(length);
    }

    function draw() {
      const width = holder.clientWidth;
      if (!width) return;
      left = Math.min(130, width * 0.28);
      side = width - left - 1;
      const height = side + left, ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
      canvas.style.touchAction = view.span < total ? "none" : "pan-y";
      const pen = canvas.getContext("2d"), colour = colours();
      pen.scale(ratio, ratio);
      drawCells(pen, colour);
      drawNames(pen, colour);
    }

    function drawCells(pen, colour) {
      pen.save();
      pen.beginPath();
      pen.rect(left, 0, side, side);
      pen.clip();
      pen.font = "12px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      const step = size();
      for (const [row, column, count] of counts) {
        const x = left + (column - view.column + 0.5) * step, y = (row - view.row + 0.5) * step;
        if (x < left - step || x > left + side + step || y < -step || y > side + step) continue;
        const share = count / videosOf[row], isRight = row === column;
        if (share < leastShare) continue;
        const drawn = Math.max(step, isRight ? 1.5 : 2.5) - (step > 8 ? 1 : 0);
        pen.fillStyle = `rgb(${isRight ? colour.accent : colour.warm} / ${0.2 + 0.8 * Math.sqrt(share)})`;
        pen.fillRect(x - drawn / 2, y - drawn / 2, drawn, drawn);
        if (step < 22) continue;
        pen.fillStyle = share > 0.4 ? colour.card : colour.ink;
        pen.fillText(leastShare ? Math.round(100 * share) : count, x, y);
      }
      if (cell) {
        pen.fillStyle = pen.strokeStyle = colour.ink;
        pen.globalAlpha = 0.35;
        pen.fillRect(left, (cell[0] - view.row + 0.5) * step, (cell[1] - view.column) * step, 1);
        pen.fillRect(left + (cell[1] - view.column + 0.5) * step, (cell[0] + 1 - view.row) * step, 1, side);
        pen.globalAlpha = 1;
        pen.strokeRect(left + (cell[1] - view.column) * step - 1, (cell[0] - view.row) * step - 1, step + 2, step + 2);
      }
      pen.restore();
      pen.strokeStyle = colour.line;
      pen.strokeRect(left + 0.5, 0.5, side - 1, side - 1);
    }

    function drawNames(pen, colour) {
      const step = size(), every = Math.ceil(15 / step);
      pen.font = "12px system-ui, sans-serif";
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      const write = (index, from, isRow, isChosen) => {
        const at = (index - from + 0.5) * step;
        if (at < 4 || at > side - 4) return;
        pen.save();
        if (isRow) pen.translate(left - 6, at);
        else {
          pen.translate(left + at, side + 6);
          pen.rotate(-Math.PI / 2);
        }
        const text = shorten(pen, classes[index], left - 10);
        if (isChosen) {
          pen.fillStyle = colour.card;
          pen.fillRect(-left, -9, left + 4, 18);
        }
        pen.fillStyle = isChosen ? colour.ink : colour.muted;
        pen.fillText(text, 0, 0);
        pen.restore();
      };
      const named = (from) => {
        const first = Math.ceil(from / every) * every, found = [];
        for (let index = first; index < Math.min(total, from + view.span); index += every) found.push(index);
        return found;
      };
      for (const index of named(view.row)) write(index, view.row, true, false);
      for (const index of named(view.column)) write(index, view.column, false, false);
      if (!cell) return;
      write(cell[0], view.row, true, true);
      write(cell[1], view.column, false, true);
    }

    function zoom(factor, row = view.row + view.span / 2, column = view.column + view.span / 2) {
      const span = clamp(view.span * factor, Math.min(total, 8), total), share = span / view.span;
      view.row = clamp(row - (row - view.row) * share, 0, total - span);
      view.column = clamp(column - (column - view.column) * share, 0, total - span);
      view.span = span;
      draw();
    }

    function pan(rows, columns) {
      view.row = clamp(view.row + rows, 0, total - view.span);
      view.column = clamp(view.column + columns, 0, total - view.span);
      draw();
    }

    function place(event) {
      const box = canvas.getBoundingClientRect();
      return [view.row + (event.clientY - box.top) / size(), view.column + (event.clientX - box.left - left) / size()];
    }

    // The cell at a place; where cells are small, the nearest one that has videos.
    function cellAt([row, column]) {
      if (row < 0 || column < 0 || row >= total || column >= total) return null;
      if (size() >= 10) return [Math.floor(row), Math.floor(column)];
      let nearest = null, least = 10 / size();
      for (const [r, c] of counts) {
        const distance = Math.hypot(r + 0.5 - row, c + 0.5 - column);
        if (distance < least) [nearest, least] = [[r, c], distance];
      }
      return nearest;
    }

    function choose(next) {
      if (!next) return;
      cell = next;
      const [row, column] = cell, count = columnsOf[row].get(column) ?? 0;
      const share = videosOf[row] ? ` (${percent(count / videosOf[row])})` : "";
      status.textContent = `${classes[row]}, predicted: ${row === column ? "the same" : classes[column]}: ${number(count)} of ${number(videosOf[row])}${share}`;
      draw();
    }

    function showVideos() {
      if (cell && list) list.go({ truth: cell[0], said: cell[1] });
    }

    function reveal() {
      const [row, column] = cell;
      const inside = (index, from) => index >= from && index + 1 <= from + view.span;
      if (!inside(row, view.row) || !inside(column, view.column)) pan(row - view.row - view.span / 2, column - view.column - view.span / 2);
    }

    // Left and right: the next cell of the row that has videos. Up and down: the next such row.
    function step(rows, columns) {
      let [row, column] = cell ?? [0, -1];
      if (columns) {
        const others = [...columnsOf[row].keys()].filter((other) => columns * (other - column) > 0);
        if (others.length) column = columns > 0 ? Math.min(...others) : Math.max(...others);
      } else {
        let next = row + rows;
        while (next >= 0 && next < total && !videosOf[next]) next += rows;
        if (next < 0 || next >= total) return;
        row = next;
        column = [...columnsOf[row].keys()].reduce((a, b) => (Math.abs(b - column) < Math.abs(a - column) ? b : a));
      }
      if (column < 0) return;
      choose([row, column]);
      reveal();
    }

    const keys = {
      ArrowLeft: () => step(0, -1), ArrowRight: () => step(0, 1), ArrowUp: () => step(-1, 0), ArrowDown: () => step(1, 0),
      Enter: showVideos, "+": () => zoom(0.6, ...middle()), "=": () => zoom(0.6, ...middle()), "-": () => zoom(1 / 0.6), 0: () => zoom(total),
    };
    const middle = () => (cell ? [cell[0] + 0.5, cell[1] + 0.5] : []);
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    canvas.addEventListener("wheel", (event) => {
      if (event.deltaY > 0 && view.span >= total) return; // nothing to zoom out of: the page scrolls
      event.preventDefault();
      zoom(Math.exp(clamp(event.deltaY, -120, 120) / 400), ...place(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
      moved = pointers.size > 1;
      pinch = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return choose(cellAt(place(event)));
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      if (pointers.size === 1 && !moved && Math.hypot(dx, dy) < 6) return;
      moved = true;
      pointers.set(event.pointerId, event);
      if (pointers.size === 1) return pan(-dy / size(), -dx / size());
      const [one, other] = [...pointers.values()];
      const distance = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      const centre = { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 };
      if (pinch && distance) zoom(pinch / distance, ...place(centre));
      pinch = distance;
    });
    canvas.addEventListener("pointerup", (event) => {
      const isClick = pointers.has(event.pointerId) && !moved;
      pointers.delete(event.pointerId);
      if (!isClick) return;
      const hit = cellAt(place(event));
      choose(hit);
      if (hit && columnsOf[hit[0]].has(hit[1])) showVideos();
    });
    canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));

    const tools = make("div", { className: "tools" }, button("+", () => zoom(0.6, ...middle())), button("\u2212", () => zoom(1 / 0.6)), button("Whole matrix", () => zoom(total)));
    tools.children[0].setAttribute("aria-label", "Zoom in");
    tools.children[1].setAttribute("aria-label", "Zoom out");
    holder.append(tools, canvas, status);
    holder.hidden = false;
    new ResizeObserver(draw).observe(holder);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    draw();
  }

  // A count in a table that stands for a cell: a button to its videos.
  function makeCell(element, list, classes) {
    const [truth, said] = element.dataset.cell.split(",").map(Number);
    const count = element.firstChild.textContent.trim();
    const open = button(count, () => list.go({ truth, said }), { className: "link" });
    open.setAttribute("aria-label", `${classes[truth]}, predicted: ${classes[said]}: ${count}`);
    element.firstChild.replaceWith(open, " ");
  }

  document.documentElement.classList.add("scripted");
  const section = $("#videos"), data = read("video-rows"), counts = read("confusion-counts");
  const list = section && data ? makeVideos(section, data) : null;
  for (const table of all("table[data-finder]")) makeFinder(table, list && ((index) => list.go({ truth: index })));
  const holder = $(".matrix-live");
  if (holder && counts) makeMatrix(holder, counts, data?.classes ?? read("class-names"), list);
  if (list) for (const element of all("[data-cell]")) makeCell(element, list, data.classes);
  if (list) for (const card of all("article[data-place]")) list.offerOriginal(card);
  const mistakes = $("#mistakes .lead");
  if (list && mistakes) mistakes.append(" ", button("List all wrong answers", () => list.go({ wrong: true }), { className: "link" }));
  document.documentElement.dataset.script = "ready";
})();
