'use strict';
// The script of all pages: what is read without it stays as it is. It adds the tree of files, keys, and what moves.
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, attributes = {}, ...children) => {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== false) e.setAttribute(name, value);
    e.append(...children);
    return e;
  };
  const say = (text) => { $('#status').textContent = text; };
  const main = $('#main');
  const image = main.dataset.image;
  const embedded = $('#table');
  const address = (page, values) => page + '?' + new URLSearchParams(values);
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const size = (n) => { // as human.Size: three digits
    let i = 0;
    while (n >= 1000 && i < units.length - 1) { n /= 1000; i++; }
    return (i === 0 ? String(n) : String(Number(n.toPrecision(3)))) + units[i];
  };
  const thousands = (n) => n.toLocaleString('en');

  // part fetches what is in a page, without what stands around it.
  async function part(url, signal) {
    const answer = await fetch(url, { headers: { 'X-Part': '1' }, signal });
    const text = await answer.text();
    if (!answer.ok && !text) throw new Error(answer.statusText);
    return text;
  }

  // Paths: the table of package page (table.go), with what the tree asks of it.
  let paths;
  function load() {
    paths ??= (async () => {
      let data;
      if (embedded) {
        const bytes = Uint8Array.from(atob(embedded.textContent.trim()), (c) => c.charCodeAt(0));
        data = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).json();
      } else {
        const answer = await fetch(address('table', { image }));
        if (!answer.ok) throw new Error('the list of files: ' + answer.statusText);
        data = await answer.json();
      }
      const n = data.names.length;
      const first = new Int32Array(n + 1), parent = new Int32Array(n).fill(-1), end = new Int32Array(n);
      const stack = [];
      for (let i = 0; i < n; i++) {
        first[i + 1] = first[i] + data.count[i];
        const depth = data.depth[i];
        while (stack.length > depth) end[stack.pop()] = i;
        if (depth > 0) parent[i] = stack[depth - 1];
        stack.push(i);
      }
      while (stack.length) end[stack.pop()] = n;
      return Object.assign(data, { n, first, parent, end, views: new Map() });
    })();
    return paths;
  }

  // view is what is known of all paths at a layer: the newest event, bytes that are seen below, those of them that the layer
  // itself holds, and whether anything below was changed by it.
  function view(t, layer) {
    let v = t.views.get(layer);
    if (v) return v;
    const at = new Int32Array(t.n).fill(-1), bytes = new Float64Array(t.n), touched = new Int32Array(t.n), there = new Uint8Array(t.n), held = new Float64Array(t.n);
    for (let i = t.n - 1; i >= 0; i--) {
      for (let e = t.first[i]; e < t.first[i + 1]; e++) if (t.layer[e] <= layer) { at[i] = e; break; }
      const e = at[i];
      if (e >= 0) {
        there[i] = t.kind[e] !== '-' ? 1 : 0;
        if (t.layer[e] === layer && t.kind[e] !== '=') touched[i]++;
        if (there[i] && t.stored[e] === '1') bytes[i] += t.size[e];
        if (t.layer[e] === layer && t.stored[e] === '1') held[i] += t.size[e];
      }
      const p = t.parent[i];
      if (p >= 0) { bytes[p] += bytes[i]; held[p] += held[i]; touched[p] += touched[i]; }
    }
    there[0] = 1;
    v = { at, bytes, held, touched, there };
    if (t.views.size > 4) t.views.clear();
    t.views.set(layer, v);
    return v;
  }

  const rowHeight = 24;

  // Tree shows the paths at a layer in a window that draws what is seen only, so that a directory of any size opens at once.
  class Tree {
    constructor(box, t, layer, wide) {
      this.t = t; this.layer = layer; this.everything = wide; this.wide = wide; this.open = new Set([0]); this.active = 0; this.words = '';
      this.list = [];
      const id = 'tree-' + layer;
      this.filter = make('input', { type: 'search', placeholder: 'Filter files', 'aria-label': 'Filter files', autocomplete: 'off', spellcheck: 'false' });
      this.changes = make('button', { type: 'button' }, 'Changed');
      this.whole = make('button', { type: 'button' }, 'All files');
      this.sum = make('span', { class: 'note', 'aria-live': 'polite' });
      this.space = make('div', { class: 'space', role: 'presentation' });
      this.window = make('div', { class: 'window', role: 'tree', tabindex: '0', id, 'aria-label': 'Files' }, this.space);
      const choice = make('span', { class: 'choice', role: 'group', 'aria-label': 'Which files' }, this.changes, this.whole);
      box.replaceChildren(make('div', { class: 'tools' }, ...(wide ? [] : [choice]), this.filter, this.sum), this.window);
      this.changes.onclick = () => this.show(false);
      this.whole.onclick = () => this.show(true);
      this.filter.oninput = () => { this.words = this.filter.value.trim().toLowerCase(); this.active = 0; this.build(); };
      this.filter.onkeydown = (e) => {
        if (e.key === 'Escape') { this.filter.value = ''; this.words = ''; this.build(); this.window.focus(); e.stopPropagation(); }
        if (e.key === 'Enter' || e.key === 'ArrowDown') { this.window.focus(); e.preventDefault(); e.stopPropagation(); }
      };
      this.window.onscroll = () => this.draw();
      this.window.onkeydown = (e) => this.key(e);
      this.window.onclick = (e) => this.click(e);
      new ResizeObserver(() => this.draw()).observe(this.window);
      this.show(wide);
    }

    show(everything) {
      this.everything = everything;
      this.changes.setAttribute('aria-pressed', !everything);
      this.whole.setAttribute('aria-pressed', everything);
      this.v = view(this.t, this.layer);
      this.open = new Set([0]);
      this.active = 0;
      if (!everything && this.v.touched[0] <= 400) for (let i = 0; i < this.t.n; i++) { if (this.v.touched[i] > 0 && this.t.end[i] > i + 1) this.open.add(i); }
      this.unfold(0);
      this.build();
    }

    // unfold opens a directory, and those in it as long as there is but one.
    unfold(i) {
      for (;;) {
        this.open.add(i);
        const inside = this.inside(i);
        if (inside.length !== 1 || this.t.end[inside[0]] === inside[0] + 1) return;
        i = inside[0];
      }
    }

    shows(i) { return this.everything ? this.v.there[i] : this.v.touched[i] > 0; }

    own(i) { const e = this.v.at[i]; return e >= 0 && this.t.layer[e] === this.layer && this.t.kind[e] !== '='; }

    inside(i) {
      const out = [];
      for (let c = i + 1; c < this.t.end[i]; c = this.t.end[c]) if (this.shows(c)) out.push(c);
      return out;
    }

    path(i) {
      const names = [];
      for (; i > 0; i = this.t.parent[i]) names.push(this.t.names[i]);
      return '/' + names.reverse().join('/');
    }

    // reveal goes to a path.
    reveal(i) {
      if (!(i > 0 && i < this.t.n)) return;
      for (let p = this.t.parent[i]; p >= 0; p = this.t.parent[p]) this.open.add(p);
      if (this.isDir(i)) this.unfold(i);
      this.build();
      this.move(this.list.indexOf(i));
    }

    isDir(i) { const e = this.v.at[i]; return i === 0 || e < 0 || this.t.type[e] === 'd'; }

    // build makes the list of the lines that could be seen.
    build() {
      const t = this.t, list = [];
      if (this.words) {
        const words = this.words.split(/\s+/);
        const lower = this.lower ??= t.names.map((name) => name.toLowerCase());
        const whole = words.some((w) => w.includes('/'));
        for (let i = 1; i < t.n; i++) {
          if (!this.shows(i) || (!this.everything && !this.own(i))) continue;
          const text = whole ? this.path(i).toLowerCase() : lower[i];
          if (words.every((w) => text.includes(w))) list.push(i);
        }
      } else {
        for (let i = 1; i < t.n;) {
          if (!this.shows(i)) { i = t.end[i]; continue; }
          list.push(i);
          i = this.open.has(i) ? i + 1 : t.end[i];
        }
      }
      this.list = list;
      this.active = Math.min(this.active, Math.max(0, list.length - 1));
      this.sum.textContent = this.words ? thousands(list.length) + ' found' : '';
      this.space.style.height = list.length * rowHeight + 'px';
      this.window.style.height = Math.min(Math.max(list.length * rowHeight + 2, 60), Math.max(300, innerHeight * (this.wide ? 0.75 : 0.6))) + 'px';
      this.draw();
    }

    draw() {
      const top = Math.max(0, Math.floor(this.window.scrollTop / rowHeight) - 8);
      const bottom = Math.min(this.list.length, top + Math.ceil(this.window.clientHeight / rowHeight) + 16);
      const lines = [];
      for (let k = top; k < bottom; k++) lines.push(this.line(k));
      if (!this.list.length) lines.push(make('div', { class: 'empty', role: 'none' }, this.words ? 'Nothing has this in its name.' : 'No file.'));
      this.space.replaceChildren(...lines);
      const active = $('.active', this.space);
      if (active) this.window.setAttribute('aria-activedescendant', active.id); else this.window.removeAttribute('aria-activedescendant');
    }

    line(k) {
      const t = this.t, i = this.list[k], e = this.v.at[i], dir = this.isDir(i), found = this.words !== '';
      const kind = e >= 0 && t.layer[e] === this.layer ? t.kind[e] : '';
      const own = !(kind === '=' && dir) ? kind : '';
      const word = { '+': 'added', '~': 'changed', '-': 'removed', '=': 'written' }[own] ?? '';
      const depth = t.depth[i];
      const text = (own === '~' || own === '=') && e >= 0 ? t.texts[t.detail[e]] : '';
      const link = e >= 0 && t.type[e] === 'l' ? ' → ' + t.texts[t.link[e]] : '';
      const before = own === '~' && e + 1 < t.first[i + 1] && t.type[e] === 'f' && t.size[e + 1] !== t.size[e] ? 'was ' + size(t.size[e + 1]) : '';
      const row = e >= 0 ? rowOfLayer(t.layer[e]) : null;
      const item = make('div', {
        class: 'item ' + word + (k === this.active ? ' active' : ''), role: 'treeitem', id: this.window.id + '-' + i, 'data-k': k,
        'aria-level': found ? 1 : depth, 'aria-selected': k === this.active ? 'true' : 'false', 'aria-setsize': this.list.length, 'aria-posinset': k + 1,
        'aria-expanded': dir && !found ? String(this.open.has(i)) : null,
      });
      item.style.top = k * rowHeight + 'px';
      item.style.paddingLeft = 12 + (found ? 0 : (depth - 1) * 16) + 'px';
      item.append(
        make('span', { class: 'sign', 'aria-hidden': 'true' }, own === '-' ? '−' : own),
        make('span', { class: 'twist', 'aria-hidden': 'true' }, dir && !found ? (this.open.has(i) ? '▾' : '▸') : ''),
        make('bdi', { class: 'name' + (dir ? ' dir' : ''), title: this.path(i) }, (found ? this.path(i) : t.names[i]) + (dir ? '/' : '')),
        make('span', { class: 'detail-text' }, link + (text || before ? ' ' + [text, before].filter(Boolean).join(', ') : '')),
        make('span', { class: 'mode' }, e >= 0 ? t.texts[t.mode[e]] : ''),
        make('span', { class: 'owner' }, e >= 0 ? t.texts[t.owner[e]] : ''),
        make('span', { class: 'bytes' }, dir ? size((this.everything ? this.v.bytes : this.v.held)[i]) : e >= 0 && t.type[e] === 'f' ? size(t.size[e]) : ''),
      );
      if (word) item.append(make('span', { class: 'unseen' }, word));
      if (this.everything) {
        const by = make('span', { class: 'by' + (this.wide ? ' long' : '') });
        if (row) by.append(make('a', { href: row.href, tabindex: '-1', title: 'by row ' + row.place + ': ' + row.text, 'data-row': row.row }, this.wide ? row.place + ' ' + row.text.trim().split(' ')[0] : row.place));
        item.append(by);
      }
      return item;
    }

    move(k) {
      if (!this.list.length) return;
      this.active = Math.max(0, Math.min(this.list.length - 1, k));
      const y = this.active * rowHeight, w = this.window;
      if (y < w.scrollTop) w.scrollTop = y;
      if (y + rowHeight > w.scrollTop + w.clientHeight) w.scrollTop = y + rowHeight - w.clientHeight;
      this.draw();
    }

    toggle(i, open = !this.open.has(i)) {
      if (open) this.unfold(i); else this.open.delete(i);
      this.build();
    }

    enter(k) {
      const i = this.list[k];
      if (this.isDir(i)) {
        if (this.words) { // to where it is
          this.filter.value = this.words = '';
          this.reveal(i);
        } else this.toggle(i);
      } else this.preview(i);
    }

    preview(i) {
      const e = this.v.at[i];
      if (e < 0 || this.t.type[e] !== 'f' || this.t.kind[e] === '-') { say('There is nothing to show of it.'); return; }
      if (embedded) { openBlame(this, i); return; }
      openFile(address('file', { image, node: i, layer: this.t.layer[e] }));
    }

    key(e) {
      const page = Math.floor(this.window.clientHeight / rowHeight) - 1, i = this.list[this.active];
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      switch (e.key) {
        case 'ArrowDown': case 'j': this.move(this.active + 1); break;
        case 'ArrowUp': case 'k': this.move(this.active - 1); break;
        case 'PageDown': this.move(this.active + page); break;
        case 'PageUp': this.move(this.active - page); break;
        case 'Home': this.move(0); break;
        case 'End': this.move(this.list.length - 1); break;
        case 'ArrowRight': case 'l':
          if (i !== undefined && this.isDir(i) && !this.words) { if (!this.open.has(i)) this.toggle(i, true); else this.move(this.active + 1); }
          break;
        case 'ArrowLeft': case 'h':
          if (i === undefined || this.words) break;
          if (this.isDir(i) && this.open.has(i)) this.toggle(i, false);
          else if (this.t.parent[i] > 0) this.move(this.list.indexOf(this.t.parent[i]));
          break;
        case 'Enter': case ' ': if (i !== undefined) this.enter(this.active); break;
        default: return;
      }
      e.preventDefault();
      e.stopPropagation();
    }

    click(e) {
      const a = e.target.closest('a[data-row]');
      if (a) return; // the rows' own
      const item = e.target.closest('.item');
      if (!item) return;
      this.active = Number(item.dataset.k);
      this.draw();
      this.enter(this.active);
    }
  }

  // What the page asks for once it is seen, so that the server and the browser do one thing after the other.
  const painted = new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); setTimeout(done, 300); });

  // Rows of an image.
  const rows = all('.rows a[data-row]');
  const rowLayers = new Map();
  for (const a of rows) if (a.dataset.layer >= 0) rowLayers.set(Number(a.dataset.layer), { href: a.getAttribute('href'), row: a.dataset.row, place: $('.place', a).textContent, text: $('.text', a).textContent });
  for (const o of all('option[data-layer]')) rowLayers.set(Number(o.dataset.layer), { href: address('image', { image, row: o.value }), row: o.value, place: String(Number(o.value) + 1), text: o.dataset.text });
  const rowOfLayer = (layer) => rowLayers.get(layer) ?? null;
  const trees = new WeakMap();
  let current; // the tree that keys go to

  function plant(article) {
    const later = $('[data-load]', article);
    if (later) painted.then(() => part(later.dataset.load)).then((html) => { if (later.isConnected) later.outerHTML = html; }, (err) => say(err.message));
    const box = $('[data-tree]', article);
    current = undefined;
    if (!box) return;
    const known = trees.get(box);
    if (known) { current = known; return; }
    painted.then(load).then((t) => {
      if (trees.has(box)) return;
      const tree = new Tree(box, t, Number(box.dataset.layer), box.dataset.tree === 'all');
      trees.set(box, tree);
      tree.reveal(Number(box.dataset.node));
      if (box.isConnected && box.offsetParent) current = tree;
      main.dataset.ready = String(Number(main.dataset.ready ?? 0) + 1);
    }, (err) => say(err.message));
  }

  let asked;
  async function select(a, push = true) {
    for (const other of rows) if (other !== a) other.removeAttribute('aria-current');
    a.setAttribute('aria-current', 'true');
    a.scrollIntoView({ block: 'nearest' });
    const row = a.dataset.row;
    if (document.body.classList.contains('contained')) {
      for (const d of all('.detail')) d.classList.toggle('seen', d.dataset.row === row);
      if (push) history.replaceState(null, '', '#row-' + row);
      plant($('.detail.seen'));
      return;
    }
    asked?.abort();
    const mine = asked = new AbortController();
    try {
      const html = await part(a.href, mine.signal);
      if (mine !== asked) return;
      $('#details').innerHTML = html;
      if (push) history.pushState({ row }, '', a.href);
      plant($('.detail'));
    } catch (err) {
      if (err.name !== 'AbortError') location.href = a.href;
    }
  }
  if (rows.length) {
    document.addEventListener('click', (e) => {
      const a = e.target.closest('a[data-row]');
      if (!a || e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
      const own = rows.find((r) => r.dataset.row === a.dataset.row);
      if (!own) return;
      e.preventDefault();
      select(own).then(() => { if (matchMedia('(max-width: 800px)').matches) $('#details').scrollIntoView(); });
      if (a === own) own.focus({ preventScroll: true });
    });
    addEventListener('popstate', (e) => {
      const row = e.state?.row ?? new URLSearchParams(location.search).get('row') ?? rows.at(-1).dataset.row;
      const a = rows.find((r) => r.dataset.row === row);
      if (a) select(a, false);
    });
  }

  // Which rows brought vulnerabilities, where the page was quicker than the packages were read.
  const unmarked = $('[data-marks]');
  if (unmarked) painted.then(() => fetch(unmarked.dataset.marks)).then((a) => a.json()).then((marks) => {
    for (const m of marks) {
      const a = rows.find((r) => r.dataset.row === String(m.row));
      a?.children[2].replaceWith(make('span', { class: 'mark ' + m.level, title: m.count + ' vulnerable, the worst is ' + m.level }, String(m.count), make('span', { class: 'unseen' }, ' vulnerable, the worst is ' + m.level)));
    }
  }, () => {}); // the rows are there without

  // Files.
  const dialog = $('#preview');
  const closing = () => make('form', { method: 'dialog' }, make('button', {}, 'Close'));
  async function openFile(url) {
    try {
      dialog.innerHTML = await part(url);
      dialog.append(closing());
      dialog.showModal();
    } catch (err) { say(err.message); }
  }
  function openBlame(tree, i) { // in a file there are no contents: who made it
    const t = tree.t, list = make('ol', { class: 'flat blame' });
    for (let e = t.first[i + 1] - 1; e >= t.first[i]; e--) {
      const a = rowOfLayer(t.layer[e]), word = { '+': 'added', '~': 'changed', '-': 'removed', '=': 'written' }[t.kind[e]];
      list.append(make('li', { class: word }, make('span', { class: 'sign' }, t.kind[e]), make('span', {}, a ? a.place + ' ' + a.text : ''), make('span', { class: 'note' }, t.texts[t.detail[e]])));
    }
    const e = tree.v.at[i];
    dialog.replaceChildren(make('article', { class: 'preview' }, make('h2', {}, make('bdi', {}, tree.path(i))),
      make('ul', { class: 'facts' }, make('li', {}, make('code', {}, t.texts[t.mode[e]])), make('li', {}, t.texts[t.owner[e]]), make('li', {}, size(t.size[e]))),
      make('h3', {}, 'Who made it'), list, make('p', { class: 'note' }, 'Contents are not in this file; strata page shows them.')), closing());
    dialog.showModal();
  }
  dialog.addEventListener('click', (e) => { if (e.target === dialog) dialog.close(); });

  // Keys.
  const help = $('#help');
  document.addEventListener('click', (e) => { if (e.target.closest('[data-do=help]')) help.showModal(); });
  document.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = e.target.closest?.('input, textarea, select');
    if (document.querySelector('dialog[open]')) return;
    if (e.key === '?' && !typing) { help.showModal(); e.preventDefault(); return; }
    if (e.key === '/' && !typing) {
      const box = current?.filter ?? $('input[type=search]');
      if (box) { box.focus(); box.select(); e.preventDefault(); }
      return;
    }
    if (e.key === 'Escape') {
      if (typing) { typing.blur(); return; }
      $('.rows a[aria-current]')?.focus();
      return;
    }
    if (typing) return;
    if (e.key === 'a' && current && !current.wide) { current.show(!current.everything); e.preventDefault(); return; }
    if (!rows.length || current?.window.contains(document.activeElement)) return;
    const at = Math.max(0, rows.findIndex((r) => r.hasAttribute('aria-current')));
    const go = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: rows.length - 1 }[e.key];
    if (go !== undefined && rows[go]) {
      rows[go].focus({ preventScroll: true });
      select(rows[go]);
      e.preventDefault();
    } else if ((e.key === 'Enter' || e.key === 'ArrowRight' || e.key === 'l') && e.target.closest('.rows, body') && current) {
      if (e.target.matches('button, summary, a:not([data-row])')) return;
      current.window.focus();
      e.preventDefault();
    }
  });

  // The treemap: a click on a directory goes to the files, on a layer to its row. The table below it has links.
  document.addEventListener('click', (e) => {
    const g = e.target.closest('.tile');
    if (!g || g.dataset.row < 0) return;
    const { row, node } = g.dataset;
    location.href = embedded ? '#row-' + row : node === '0' ? address('image', { image, row }) : address('files', { image, row, node });
  });

  // What a page without rows has.
  for (const e of all('.scripted')) e.hidden = false;
  for (const e of all('.unscripted')) e.hidden = true;
  for (const e of all('[data-submit]')) e.onchange = () => e.form.requestSubmit();
  for (const e of all('input[data-filter]')) {
    e.onkeydown = (k) => { if (k.key === 'Enter') k.preventDefault(); };
    e.oninput = () => {
      const words = e.value.toLowerCase().split(/\s+/);
      for (const tr of all('tbody tr', $(e.dataset.filter))) { const text = tr.textContent.toLowerCase(); tr.hidden = !words.every((w) => text.includes(w)); }
    };
  }
  document.addEventListener('click', (e) => {
    const a = e.target.closest('a[data-dialog], .flat a[href^="file?"]');
    if (!a || dialog.contains(a) || e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
    e.preventDefault();
    openFile(a.href);
  });

  // A build under way, or the list of those.
  for (const e of all('[data-follow]')) {
    const source = new EventSource(e.dataset.follow), output = $('#output');
    let step;
    source.addEventListener('state', (m) => { e.innerHTML = JSON.parse(m.data); main.dataset.followed = String(Number(main.dataset.followed ?? 0) + 1); });
    source.addEventListener('output', (m) => {
      const stays = output.scrollTop + output.clientHeight >= output.scrollHeight - 30;
      for (const p of JSON.parse(m.data)) {
        if (p.step !== step) { step = p.step; output.append(make('b', {}, step)); }
        output.append(p.text);
      }
      if (stays) output.scrollTop = output.scrollHeight;
    });
    source.addEventListener('end', () => { source.close(); location.reload(); });
    addEventListener('pagehide', () => source.close());
  }

  if (document.body.classList.contains('contained')) {
    document.body.classList.add('one');
    const tabs = all('.tabs a'), parts = all('.part');
    const turn = (id) => {
      for (const p of parts) p.hidden = p.id !== id;
      for (const a of tabs) if (a.hash === '#' + id) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
    };
    const arrive = () => {
      const id = location.hash.slice(1);
      turn(parts.some((p) => p.id === id) ? id : 'image');
    };
    arrive();
    addEventListener('hashchange', arrive);
    const wanted = rows.find((r) => '#row-' + r.dataset.row === location.hash) ?? $('.rows a[aria-current]') ?? rows.at(-1);
    if (wanted) select(wanted, false);
    addEventListener('hashchange', () => { const a = rows.find((r) => '#row-' + r.dataset.row === location.hash); if (a) select(a, false); });
  } else plant(document);
  main.dataset.scripted = 'true';
})();
