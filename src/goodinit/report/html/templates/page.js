"use strict";
(() => {
  const root = document.documentElement;
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent || "{}");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  /* Theme: the system's, until the button says otherwise. */
  const themeButton = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const paint = (dark) => {
    root.dataset.theme = dark ? "dark" : "light";
    themeButton.setAttribute("aria-pressed", String(dark));
  };
  let chosen = false;
  paint(system.matches);
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    chosen = true;
    paint(root.dataset.theme !== "dark");
    redraw();
  });
  system.addEventListener("change", () => {
    if (!chosen) {
      paint(system.matches);
      redraw();
    }
  });

  /* Copying. */
  for (const button of all(".copy button")) {
    button.hidden = false;
    const words = button.innerHTML;
    button.addEventListener("click", async () => {
      const source = button.parentElement.querySelector("code");
      const text = source ? source.textContent : button.dataset.text;
      let done = true;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        const field = document.createElement("textarea");
        field.value = text;
        document.body.append(field);
        field.select();
        done = document.execCommand("copy");
        field.remove();
        button.focus();
      }
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.innerHTML = words; }, 1600);
    });
  }

  /* Tables: search, sort, show more. Cells are text and are set as text, never as markup. */
  const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const valueOf = (text) => {
    const plain = text.replace(/[,\s]/g, "").replace(/−/g, "-");
    if (/^-?∞/.test(plain)) return plain[0] === "-" ? -Infinity : Infinity;
    const found = /^[<>×]?(-?[\d.]+)(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?/.exec(plain);
    if (!found) return NaN;
    const bare = /^(-?)10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)$/.exec(plain.replace(/^[<>×]/, ""));
    const power = (raised) => Number([...raised].map((c) => (c === "⁻" ? "-" : RAISED.indexOf(c))).join(""));
    if (bare) return Number(`${bare[1]}1e${power(bare[2])}`);
    const number = found[2] ? Number(`${found[1]}e${power(found[2])}`) : Number(found[1]);
    return plain[0] === "<" ? number / 2 : number;
  };
  const arrange = (box) => {
    const body = box.querySelector("tbody");
    const heads = all("th", box);
    const kinds = heads.map((head) => head.className);
    const shown = body.rows.length;
    const rows = [...body.rows].map((row) => [...row.cells].map((cell) => cell.textContent));
    const searched = (row) => row.join("\n").toLowerCase();
    const index = rows.map(searched);
    const field = box.querySelector("input");
    const output = box.querySelector("output");
    const more = box.querySelector(".more");
    let limit = Math.max(shown, 40);
    let order = rows.map((_, place) => place);
    const draw = () => {
      const words = field ? field.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
      const matching = order.filter((place) => words.every((word) => index[place].includes(word)));
      body.replaceChildren(...matching.slice(0, limit).map((place) => {
        const row = document.createElement("tr");
        rows[place].forEach((text, column) => {
          const cell = row.insertCell();
          cell.className = kinds[column];
          cell.textContent = text;
        });
        return row;
      }));
      const count = (number) => number.toLocaleString("en");
      if (output) {
        output.textContent = words.length
          ? `${count(matching.length)} of ${count(rows.length)} rows match`
          : `${count(rows.length)} row${rows.length === 1 ? "" : "s"}`;
      }
      if (more) {
        more.hidden = matching.length <= limit;
        more.querySelector("span").textContent =
          `${count(Math.min(limit, matching.length))} of ${count(matching.length)} rows are shown.`;
      }
    };
    if (field) {
      box.querySelector(".tools").hidden = false;
      field.addEventListener("input", () => { limit = Math.max(shown, 40); draw(); });
      output.textContent = `${rows.length.toLocaleString("en")} row${rows.length === 1 ? "" : "s"}`;
    }
    if (more) {
      more.querySelector("button").hidden = false;
      more.querySelector("button").addEventListener("click", () => { limit += 500; draw(); });
    }
    if (box.dataset.table !== "changes") {
      heads.forEach((head, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent;
        head.replaceChildren(button);
        button.addEventListener("click", () => {
          const down = head.getAttribute("aria-sort") === "ascending";
          for (const other of heads) other.removeAttribute("aria-sort");
          head.setAttribute("aria-sort", down ? "descending" : "ascending");
          const numeric = kinds[column] === "number";
          const keys = rows.map((row) => (numeric ? valueOf(row[column]) : row[column]));
          order = rows.map((_, place) => place).sort((a, b) => {
            const [x, y] = [keys[a], keys[b]];
            if (numeric && (Number.isNaN(x) || Number.isNaN(y))) return Number.isNaN(x) - Number.isNaN(y) || a - b;
            const way = numeric ? (x < y ? -1 : x > y ? 1 : 0) : x.localeCompare(y, "en", { numeric: true });
            return (down ? -way : way) || a - b;
          });
          draw();
        });
      });
    }
    return (others) => {
      for (const row of others) {
        order.push(rows.length);
        rows.push(row);
        index.push(searched(row));
      }
      draw();
    };
  };
  const tables = new Map(all(".table").map((box) => [box.dataset.table, arrange(box)]));
  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const fillTables = async () => {
    const packed = document.getElementById("rest");
    if (!packed) return;
    try {
      for (const [key, rows] of Object.entries(JSON.parse(await unpack(packed.textContent)))) tables.get(key)(rows);
      root.dataset.tables = "filled";
    } catch (error) {
      for (const more of all(".more span")) more.textContent += " This browser cannot unpack the others.";
      root.dataset.tables = "failed";
    }
  };
  fillTables();

  /* Where the reader is. */
  const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const id of links.keys()) seen.observe(document.getElementById(id));

  /* Plots. Plotly reads markup in its texts, so that every text is escaped here. */
  const figures = parsed("figures");
  const view = new Map();
  const TEXTS = new Set(["text", "name", "ticktext"]);
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\n/g, "<br>");
  const escapedAll = (value) => {
    if (typeof value === "string") return escaped(value);
    if (Array.isArray(value)) return value.map(escapedAll);
    return value && typeof value === "object" ? prepared(value) : value;
  };
  const coloured = (value) => {
    if (Array.isArray(value)) return value.map(coloured);
    return typeof value === "string" && value[0] === "$"
      ? getComputedStyle(root).getPropertyValue(`--${value.slice(1)}`).trim()
      : value;
  };
  const prepared = (value, key = "") => {
    if (TEXTS.has(key)) return escapedAll(value);
    if (/color/i.test(key)) return value && typeof value === "object" && !Array.isArray(value) ? through(value) : coloured(value);
    if (Array.isArray(value)) return value.length && typeof value[0] === "object" ? value.map((each) => prepared(each)) : value;
    return value && typeof value === "object" ? through(value) : value;
  };
  const through = (value) => Object.fromEntries(Object.entries(value).map(([key, each]) => [key, prepared(each, key)]));
  const trace = (raw) => {
    const { columns, hover, ...own } = raw;
    const made = { type: "scatter", ...through(own) };
    if (columns) {
      const names = columns.map(escaped);
      made.customdata = raw.z.map(() => names);
      made.hovertemplate = `%{customdata}<br>${escaped(hover)}<extra></extra>`;
      made.hoverongaps = false;
    } else if (raw.text) {
      made.hovertemplate = "%{text}<extra></extra>";
    }
    return made;
  };
  const axis = (own = {}) => {
    const { title, ...others } = through(own);
    return {
      gridcolor: coloured("$grid"), linecolor: coloured("$line"), zerolinecolor: coloured("$line"),
      zeroline: false, ticks: "", nticks: 7, automargin: true,
      ...others,
      ...(title ? { title: { standoff: 8, font: { size: 12, color: coloured("$muted") }, ...title } } : {}),
    };
  };
  const layoutOf = (own, height) => {
    const { xaxis, yaxis, ...others } = own;
    return {
      height, autosize: true, margin: { l: 52, r: 14, t: 8, b: 44 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: coloured("$muted") },
      hovermode: "closest",
      hoverlabel: {
        bgcolor: coloured("$surface"), bordercolor: coloured("$muted"), align: "left",
        font: { color: coloured("$ink"), size: 12.5 },
      },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      showlegend: false,
      ...through(others),
      xaxis: axis(xaxis), yaxis: { ...axis(yaxis), fixedrange: true },
    };
  };
  const drawn = new Set();
  const drawOne = (box) => {
    const figure = figures[box.dataset.figure];
    const { traces, layout } = figure.views[view.get(box) || 0];
    drawn.add(box);
    const config = { displayModeBar: false, responsive: true, showTips: false };
    window.Plotly.react(box, traces.map(trace), layoutOf(layout, figure.height), config);
    /* Plotly measures texts in an empty drawing of its own. */
    document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
  };
  const redraw = () => { for (const box of drawn) drawOne(box); };

  /* Arrow keys walk along a plot; what they reach is shown and read out. */
  const walk = (box) => {
    const place = { at: -1, row: 0 };
    const readout = box.parentElement.querySelector(".readout");
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-roledescription", "plot; arrow keys move from point to point");
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], Home: [-1e9, 0], End: [1e9, 0] }[event.key];
      if (!step || !box.data) return;
      const raw = figures[box.dataset.figure].views[view.get(box) || 0].traces;
      /* Several curves: up and down go from one to the next. */
      const mains = raw.map((each, at) => (each.meta === "main" ? at : -1)).filter((at) => at >= 0);
      if (mains.length > 1) place.row = Math.min(Math.max(place.row - step[1], 0), mains.length - 1);
      const number = mains.length > 1 ? mains[place.row] : Math.max(0, mains[0] ?? 0);
      const chosenTrace = raw[number];
      const length = (chosenTrace.columns || chosenTrace.x || []).length;
      if (!length) return;
      event.preventDefault();
      place.at = Math.min(Math.max(place.at + step[0], 0), length - 1);
      if (chosenTrace.columns) {
        place.row = Math.min(Math.max(place.row + step[1], 0), chosenTrace.z.length - 1);
        const cell = chosenTrace.z[place.row][place.at];
        readout.textContent = cell === null
          ? `${chosenTrace.columns[place.at]}; row ${place.row}: no value on this scale`
          : `${chosenTrace.columns[place.at]}; ${chosenTrace.hover.replace("%{z}", cell).replace("%{y}", place.row)}`;
        window.Plotly.Fx.hover(box, { xval: place.at, yval: place.row }, "xy");
      } else {
        readout.textContent = chosenTrace.text[place.at].replace(/\n/g, "; ");
        window.Plotly.Fx.hover(box, [{ curveNumber: number, pointNumber: place.at }]);
      }
    });
    box.addEventListener("blur", () => { readout.textContent = ""; window.Plotly.Fx.unhover(box); });
  };
  for (const group of all(".views")) {
    const box = group.closest("figure").querySelector(".plot");
    for (const button of all("button", group)) {
      button.addEventListener("click", () => {
        for (const other of all("button", group)) other.setAttribute("aria-pressed", String(other === button));
        view.set(box, Number(button.dataset.view));
        drawOne(box);
      });
    }
  }
  const start = async () => {
    const packed = document.getElementById("plotly");
    if (!packed) return;
    try {
      const script = document.createElement("script");
      script.textContent = await unpack(packed.textContent);
      document.head.append(script);
      if (!window.Plotly) throw new Error("the plotting script did not start");
    } catch (error) {
      for (const box of all(".plot")) {
        box.style.height = "auto";
        box.textContent = "This browser cannot draw the plot; its numbers are in the table below.";
      }
      root.dataset.plots = "failed";
      return;
    }
    /* Drawn when the reader comes near, so that the page opens at once; all of them before printing. */
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) show(entry.target);
    }, { rootMargin: "600px 0px" });
    const show = (box) => {
      near.unobserve(box);
      if (!drawn.has(box)) drawOne(box);
    };
    for (const box of all(".plot")) {
      walk(box);
      near.observe(box);
    }
    window.addEventListener("beforeprint", () => all(".plot").forEach(show));
    for (const group of all(".views")) group.hidden = false;
    root.dataset.plots = "ready";
  };
  start();
})();
