// What pages do beyond being read: forms that call the API, live regions, keys, completion. Pages work without it, but for changes.
//
// Nothing here knows a page. What a page wants is said in its attributes:
//   data-live                 a region (with an id) that is fetched anew when something happens to mail
//   data-live="asked"         ... only after a form of the page has changed something
//   data-live-email="ID"      ... only when it happens to this e-mail;  data-live-seconds="N"  also every so often
//   data-api="METHOD /path"   a form that calls the API; {name} in the path is taken from its fields
//   data-confirm="text"       asks first; with data-dry-run the call is made with dryRun, and {member} is taken from its answer
//                             {member|one|several} is the number with the word for it
//   data-done="text"          said afterwards; data-then="/path/{id}" goes there; data-show="member" shows it once
//   data-type, data-empty     of a field: how its value is read, and whether an empty one is null
//   data-bulk                 a form for the rows that are selected, or for all that match; data-selected says how many that are,
//                             data-select-all selects those of the page, data-select-none none
//   data-tail="/path"         rows that an event stream adds to; each is a copy of the template data-tail-row, its data-slots filled

const page = document;
const $ = (selector, within = page) => within.querySelector(selector);
const $$ = (selector, within = page) => [...within.querySelectorAll(selector)];
const csrfToken = $('meta[name="csrf-token"]')?.content;
const signIn = () => location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
// Only what is known is put in: a name that somebody chose may look like a place for something.
const filled = (text, values) => text.replace(/\{([\w.]+)(?:\|([^|{}]*)\|([^|{}]*))?\}/g, (all, name, one, several) =>
  values[name] === undefined ? all : one === undefined ? say(values[name]) : `${say(values[name])} ${values[name] === 1 ? one : several}`);
const say = (value) => typeof value === 'number' ? value.toLocaleString('en-US') : String(value ?? '');

// ---- Telling people ----

let statusTimer;
function tell(text, isBad = false) {
  const status = $('#status');
  // In front of a dialog that is open, where one would not see it otherwise.
  ($('dialog[open]') ?? page.body).append(status);
  status.className = isBad ? 'bad' : '';
  status.setAttribute('role', isBad ? 'alert' : 'status');
  status.textContent = text;
  clearTimeout(statusTimer);
  statusTimer = setTimeout(() => { status.textContent = ''; }, isBad ? 15000 : 6000);
}

// What was done on the page before this one.
const TOLD_THERE = 'postrider-told-there';
const toldThere = sessionStorage.getItem(TOLD_THERE);
if (toldThere) { sessionStorage.removeItem(TOLD_THERE); tell(toldThere); }

function ask(text, isDanger) {
  const dialog = $('#confirm');
  $('#confirm-text').textContent = text;
  $('#confirm-yes').className = isDanger ? 'danger' : 'main';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

function show(title, text, value) {
  $('#shown-title').textContent = title;
  $('#shown-text').textContent = text;
  $('#shown-value').textContent = value;
  const dialog = $('#shown');
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
}

// ---- Calling the API ----

async function call(method, path, body) {
  const headers = { Accept: 'application/json' };
  if (csrfToken) headers['X-CSRF-Token'] = csrfToken;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Error('The server does not answer. Is it running? Nothing is known of what was asked.');
  }
  if (response.status === 401) signIn();
  const text = await response.text();
  let answer = {};
  try { answer = text ? JSON.parse(text) : {}; } catch { /* not every answer is JSON */ }
  if (!response.ok) throw new Error(answer.detail ?? `The server answered ${response.status}.`);
  return answer;
}

function put(body, name, value) {
  const names = name.split('.');
  const last = names.pop();
  let at = body;
  for (const step of names) at = at[step] ??= {};
  at[last] = value;
}

// `Ann Lee <ann@example.org>, "Lee, Bob" <bob@example.net>`: commas and line ends are between them where they are not in quotes or brackets.
function addressesOf(text) {
  const found = text.match(/(?:"(?:\\.|[^"\\])*"|<[^<>]*>|[^,\n])+/g) ?? [];
  return found.map((address) => address.trim()).filter(Boolean);
}

function valueOf(field) {
  const type = field.dataset.type;
  if (field.type === 'checkbox' && type !== 'list') return field.checked;
  const text = field.type === 'password' || field.tagName === 'TEXTAREA' ? field.value : field.value.trim();
  if (text === '') return { null: null, list: [], text: '' }[field.dataset.empty];
  switch (type) {
    case 'number': return Number(text);
    case 'boolean': return text === 'true';
    case 'list': return text.split(/[\s,]+/).filter(Boolean);
    case 'addresses': return addressesOf(text);
    case 'lines': return text.split('\n').map((line) => line.trim()).filter(Boolean);
    case 'time': {
      const time = new Date(text);
      if (Number.isNaN(time.valueOf())) throw new Error(`${text} is no time: write it as 2027-01-31T00:00:00Z.`);
      return time.toISOString();
    }
    case 'json': return JSON.parse(text);
    default: return text;
  }
}

// What a form says: its fields by name. Checkboxes of one name with data-type="list" are one list.
function valuesOf(form, submitter) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.closest('fieldset:disabled')) continue;
    if (field.type === 'submit' || field.type === 'button') continue;
    if (field.type === 'radio' && !field.checked) continue;
    if (field.type === 'checkbox' && field.dataset.type === 'list') {
      const list = values[field.name] ??= [];
      if (field.checked) list.push(field.value);
      continue;
    }
    const value = valueOf(field);
    if (value !== undefined) values[field.name] = value;
  }
  if (submitter?.name) values[submitter.name] = submitter.value;
  return values;
}

// Rows that are selected, or all that the list's filter finds.
function bulkOf(values) {
  const { action, everything, ids, ...filter } = values;
  if (!everything) {
    if (!selected.size) throw new Error('Nothing is selected. Select rows, or all that match.');
    return { action, ids: [...selected] };
  }
  return Object.keys(filter).length ? { action, filter } : { action, all: true };
}

async function send(form, submitter) {
  $('#status').textContent = '';
  const setting = (name) => submitter?.dataset[name] ?? form.dataset[name];
  let values = valuesOf(form, submitter);
  if ('bulk' in form.dataset) values = bulkOf(values);
  let [method, path] = setting('api').split(' ');
  path = path.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name] ?? '';
    delete values[name];
    return encodeURIComponent(value);
  });
  const body = {};
  for (const [name, value] of Object.entries(values)) put(body, name, value);
  // A form of which nothing is filled in says so: what is missing, the API tells.
  const hasFields = [...form.elements].some((field) => field.name && !['hidden', 'submit', 'button'].includes(field.type));
  const content = hasFields || Object.keys(body).length ? body : undefined;
  const output = $('[data-output]', form);
  if (output) output.textContent = '';

  const question = setting('confirm');
  if (question !== undefined) {
    let known = { domain: values.domain, selected: values.ids?.length };
    if (setting('dryRun') !== undefined) known = { ...known, ...await call(method, path, { ...body, dryRun: true }) };
    if (known.matched === 0) throw new Error('Nothing matches, so nothing was changed.');
    if (!await ask(filled(question, known), submitter?.classList.contains('danger'))) return;
  }
  const answer = await call(method, path, content);
  if (output) output.textContent = JSON.stringify(answer, null, 2);
  const secret = setting('show');
  if (secret !== undefined) await show(setting('showTitle') ?? 'Keep this', setting('showText') ?? '', answer[secret]);
  form.closest('dialog')?.close();
  const done = filled(setting('done') ?? 'Done.', { ...values, ...answer });
  const then = setting('then');
  if (!then) tell(done); else sessionStorage.setItem(TOLD_THERE, done);
  if (then) return location.assign(filled(then, Object.fromEntries(
    Object.entries({ ...values, ...answer }).map(([name, value]) => [name, encodeURIComponent(value)]))));
  if (!output && form.dataset.keep === undefined) form.reset();
  select([]);
  await refresh();
}

page.addEventListener('submit', async (event) => {
  const form = event.target;
  const submitter = event.submitter;
  if (submitter?.formMethod === 'dialog') return;
  if (!form.matches('form[data-api]') && !submitter?.dataset.api) return;
  event.preventDefault();
  // Not by disabling the button: the focus would be lost, and a dialog could not give it back.
  if (form.ariaBusy) return;
  form.ariaBusy = 'true';
  const row = submitter?.closest('[data-row]');
  try {
    await send(form, submitter);
  } catch (error) {
    tell(error.message, true);
  } finally {
    form.ariaBusy = null;
    // What was pressed may be gone with what it did: who goes by keyboard stays near.
    if (page.activeElement === page.body) ((row?.isConnected && rowLink(row)) || $('#content'))?.focus({ preventScroll: true });
  }
});

// ---- Rows that are selected ----

// By what they are: as mail comes, rows go further on, and what was selected must neither change by that nor be forgotten.
const selected = new Set();
const selectBoxes = () => $$('td.select input');

// Selects these and nothing else.
function select(ids) {
  selected.clear();
  ids.forEach((id) => selected.add(id));
  showSelected();
}

function showSelected() {
  const boxes = selectBoxes();
  for (const box of boxes) box.checked = selected.has(box.value);
  const here = boxes.filter((box) => box.checked).length;
  const all = $('[data-select-all]');
  if (all) {
    all.checked = here > 0 && here === boxes.length;
    all.indeterminate = here > 0 && here < boxes.length;
  }
  const told = $('[data-selected]');
  if (!told) return;
  const elsewhere = selected.size - here;
  const text = selected.size === 0 ? 'Nothing is selected.'
    : `${say(selected.size)} selected${elsewhere ? `; ${say(elsewhere)} of them not on this page any more` : ''}.`;
  if (told.textContent !== text) told.textContent = text;
  $('[data-select-none]').hidden = selected.size === 0;
}

page.addEventListener('change', ({ target }) => {
  if (target.matches('td.select input')) {
    if (target.checked) selected.add(target.value); else selected.delete(target.value);
    showSelected();
  } else if (target.matches('[data-select-all]')) {
    select(target.checked ? new Set([...selected, ...selectBoxes().map((box) => box.value)]) : []);
  }
});

// A browser that loads a page again ticks the boxes where some were ticked, which may be others' by now.
addEventListener('pageshow', showSelected);

// ---- Live regions ----

// Not node.id: of a form that has a field of that name it is the field.
const keyOf = (node) => node.nodeType === 1 ? node.getAttribute('id') || node.dataset?.key : undefined;

// Makes one tree like another and keeps the nodes that are the same thing: with them focus, selection and what is unfolded.
function morph(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !(name === 'open' && old.tagName === 'DETAILS')) old.setAttribute(name, value);
  }
  const keyed = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = keyOf(next);
    const here = at && !keyOf(at) && at.nodeType === next.nodeType && at.nodeName === next.nodeName ? at : null;
    const same = key ? keyed.get(key) : here;
    if (!same) {
      const added = page.importNode(next, true);
      if (key && added.dataset.row !== undefined) added.classList.add('arrived');
      old.insertBefore(added, at);
      continue;
    }
    if (same === at) at = at.nextSibling; else old.insertBefore(same, at);
    if (same.nodeType === 1) {
      if (!same.isEqualNode(next)) morph(same, next);
    } else if (same.nodeValue !== next.nodeValue) {
      same.nodeValue = next.nodeValue;
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

let fetching = false;
let isStale = false;
async function refresh() {
  if (!$('[data-live]')) return;
  if (fetching) { isStale = true; return; }
  fetching = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: 'text/html' } });
    if (new URL(response.url).pathname === '/sign-in') return signIn();
    if (!response.ok) throw new Error();
    const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
    for (const region of $$('[data-live]')) {
      const to = fresh.getElementById(region.id);
      if (to) morph(region, to);
    }
    showSelected();
    page.dispatchEvent(new Event('postrider:refreshed'));
    showLive('on');
  } catch {
    showLive('off');
  } finally {
    fetching = false;
  }
  if (isStale) { isStale = false; soon(); }
}

// At once, but not more often than every second.
let refreshTimer;
let refreshedAt = Date.now();
function soon() {
  if (refreshTimer) return;
  refreshTimer = setTimeout(() => {
    refreshTimer = undefined;
    refreshedAt = Date.now();
    refresh();
  }, Math.max(0, refreshedAt + 1000 - Date.now()));
}

function showLive(state) {
  const live = $('#live');
  live.dataset.state = state;
  live.textContent = state === 'on' ? 'Live' : 'Not live';
  live.title = state === 'on' ? 'What happens is shown within a second' : 'The server does not answer; it is asked again and again';
}

let events;
function follow() {
  const email = $('[data-live-email]')?.dataset.liveEmail;
  events = new EventSource('/api/events/summary');
  // What happened before, while the page was on its way or nothing was heard, nobody tells.
  events.addEventListener('open', () => { showLive('on'); soon(); });
  events.addEventListener('error', () => { showLive('off'); if (events.readyState === 2) setTimeout(restart, 5000); });
  events.addEventListener('summary', (event) => {
    const summary = JSON.parse(event.data);
    if (!email || summary.more || summary.emails.includes(email)) soon();
  });
}

function restart() {
  if (page.visibilityState !== 'visible') return;
  events?.close();
  follow();
  soon();
}

if ($('[data-live]:not([data-live="asked"])')) {
  follow();
  // A page that nobody sees asks for nothing, and catches up when it is seen again.
  page.addEventListener('visibilitychange', () => {
    if (page.visibilityState === 'visible') restart(); else { events?.close(); events = undefined; }
  });
  const seconds = Math.min(...$$('[data-live-seconds]').map((region) => Number(region.dataset.liveSeconds)));
  if (Number.isFinite(seconds)) {
    setInterval(() => { if (page.visibilityState === 'visible') soon(); }, seconds * 1000);
  }
}

// ---- Tails: rows that a stream adds to, the newest last ----

const TAIL_ROWS_MAX = 2000;

function fill(row, record) {
  for (const slot of $$('[data-slot]', row)) {
    const value = record[slot.dataset.slot];
    if (value === null || value === undefined) { slot.remove(); continue; }
    if (slot.dataset.slotHref !== undefined) { slot.setAttribute('href', slot.dataset.slotHref + encodeURIComponent(value)); continue; }
    if (slot.dataset.slotClass !== undefined) slot.classList.add(value);
    if (slot.tagName === 'TIME') {
      slot.dateTime = slot.title = value;
      slot.textContent = value.slice(11, 23);
    } else if (typeof value === 'object') {
      slot.textContent = Object.entries(value).map(([name, text]) => `${name}=${text}`).join(' ');
    } else {
      slot.textContent = value;
    }
  }
  return row;
}

function tail(list) {
  const box = list.closest('.tail');
  const pause = $(`[data-tail-pause="#${list.id}"]`);
  const template = $(list.dataset.tailRow).content;
  const address = new URL(list.dataset.tail, location.href);
  let stream;
  let isPaused = false;

  const toEnd = () => { box.scrollTop = box.scrollHeight; };

  const add = ({ records, missed }) => {
    // Who reads what was before is left where they are.
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
    if (missed) tell('Some records came too fast, or before the server was started anew: they are not shown.');
    if (records.length) $('[data-tail-empty]', list)?.remove();
    list.append(...records.map((record) => fill(page.importNode(template, true), record)));
    while (list.childElementCount > TAIL_ROWS_MAX) list.firstElementChild.remove();
    if (isAtEnd) toEnd();
  };

  const close = () => { stream?.close(); stream = undefined; };
  const open = () => {
    close();
    if (isPaused || page.visibilityState !== 'visible') return;
    const opened = stream = new EventSource(address);
    opened.addEventListener('open', () => showLive('on'));
    opened.addEventListener('error', () => {
      showLive('off');
      if (opened.readyState === 2) setTimeout(() => { if (stream === opened) open(); }, 5000);
    });
    opened.addEventListener(list.dataset.tailEvent, (event) => {
      address.searchParams.set('after', event.lastEventId);
      add(JSON.parse(event.data));
    });
  };

  if (pause) {
    pause.hidden = false;
    pause.addEventListener('click', () => {
      isPaused = !isPaused;
      pause.setAttribute('aria-pressed', String(isPaused));
      pause.textContent = isPaused ? 'Go on' : 'Pause';
      if (!isPaused) toEnd();
      open();
    });
  }
  page.addEventListener('visibilitychange', open);
  toEnd();
  open();
}
$$('[data-tail]').forEach(tail);

// ---- Times ----

function relative(at) {
  const seconds = Math.trunc((Date.now() - at) / 1000);
  if (seconds === 0) return 'now';
  const length = Math.abs(seconds);
  const span = length < 60 ? `${length} s` : length < 3600 ? `${Math.trunc(length / 60)} min`
    : length < 86400 ? `${Math.trunc(length / 3600)} h` : `${Math.trunc(length / 86400)} d`;
  return seconds > 0 ? `${span} ago` : `in ${span}`;
}

setInterval(() => {
  for (const time of $$('time[datetime]:not([data-exact])')) {
    const text = relative(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}, 5000);

// ---- Small things on a click ----

page.addEventListener('click', async (event) => {
  const target = event.target.closest('[data-copy], [data-open], #keys-button, [data-select-none]');
  if (!target) return;
  if (target.id === 'keys-button') $('#keys').showModal();
  if (target.dataset.open) $(target.dataset.open).showModal();
  if (target.dataset.selectNone !== undefined) {
    select([]);
    // It is gone now, and the focus with it.
    $('[data-select-all]')?.focus({ preventScroll: true });
  }
  if (target.dataset.copy) {
    const source = $(target.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
    } catch {
      // Browsers keep the clipboard from pages that came without TLS: the old way still works there.
      getSelection().selectAllChildren(source);
      page.execCommand('copy');
    }
    tell('Copied.');
  }
});

// ---- Keys ----

const rows = () => $$('[data-row]');
const rowLink = (row) => $('a, summary, button', row);

function step(by) {
  const all = rows();
  const now = all.findIndex((row) => row.contains(page.activeElement));
  const next = all[Math.max(0, Math.min(all.length - 1, now < 0 ? (by > 0 ? 0 : all.length - 1) : now + by))];
  if (next) { rowLink(next)?.focus(); next.scrollIntoView({ block: 'nearest' }); }
}

let isGoing = false;
page.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target;
  if (target.matches('input:not([type="checkbox"], [type="radio"]), textarea, select, [contenteditable]')) return;
  if ($('dialog[open]')) return;
  if (isGoing) {
    isGoing = false;
    const path = { e: '/emails', o: '/', q: '/queue', l: '/log' }[event.key];
    if (path) { event.preventDefault(); location.assign(path); return; }
  }
  switch (event.key) {
    case '/': {
      event.preventDefault();
      const search = $('input[type="search"]');
      if (search) { search.focus(); search.select(); } else location.assign('/emails#search');
      break;
    }
    case 'j': step(1); break;
    case 'k': step(-1); break;
    case 'x': {
      const box = $('input[type="checkbox"]', page.activeElement.closest('[data-row]') ?? page.createElement('p'));
      box?.click();
      break;
    }
    case 'g': isGoing = true; setTimeout(() => { isGoing = false; }, 1500); break;
    case '?': $('#keys').showModal(); break;
    default:
  }
});
if (location.hash === '#search') $('input[type="search"]')?.focus();

// ---- Completion of queries ----

function complete(input) {
  const list = page.getElementById(input.getAttribute('aria-controls'));
  const keys = JSON.parse(input.dataset.keys);
  let active = -1;

  const token = () => {
    const before = input.value.slice(0, input.selectionStart);
    if ((before.match(/"/g)?.length ?? 0) % 2) return undefined;
    const start = before.search(/\S*$/);
    const sign = before[start] === '-' ? 1 : 0;
    return { start: start + sign, text: before.slice(start + sign) };
  };

  const options = () => {
    const found = token();
    if (!found?.text) return [];
    const [name, ...rest] = found.text.split(':');
    if (!rest.length) {
      return keys.filter((key) => key.name.startsWith(name.toLowerCase()) && name !== '')
        .map((key) => ({ text: `${key.name}:`, hint: key.finds, at: found.start, length: found.text.length }));
    }
    const given = rest.join(':');
    const part = given.slice(given.lastIndexOf(',') + 1);
    const at = found.start + found.text.length - part.length;
    return (keys.find((key) => key.name === name || key.aliases.includes(name))?.values ?? [])
      .filter((value) => value.startsWith(part) && value !== part)
      .map((value) => ({ text: value, hint: '', at, length: part.length }));
  };

  const close = () => { list.hidden = true; input.setAttribute('aria-expanded', 'false'); input.removeAttribute('aria-activedescendant'); active = -1; };

  const take = (option) => {
    const end = option.at + option.length;
    const isWhole = !option.text.endsWith(':');
    input.value = input.value.slice(0, option.at) + option.text + (isWhole ? ' ' : '') + input.value.slice(end).trimStart();
    const caret = option.at + option.text.length + (isWhole ? 1 : 0);
    input.setSelectionRange(caret, caret);
    open();
  };

  let shown = [];
  const mark = () => {
    [...list.children].forEach((item, i) => item.setAttribute('aria-selected', String(i === active)));
    if (active >= 0) { input.setAttribute('aria-activedescendant', `${list.id}-${active}`); list.children[active].scrollIntoView({ block: 'nearest' }); }
    else input.removeAttribute('aria-activedescendant');
  };

  function open() {
    shown = options().slice(0, 20);
    active = -1;
    if (!shown.length) return close();
    list.replaceChildren(...shown.map((option, i) => {
      const item = page.createElement('li');
      item.id = `${list.id}-${i}`;
      item.setAttribute('role', 'option');
      item.append(option.text);
      if (option.hint) {
        const hint = page.createElement('span');
        hint.className = 'soft';
        hint.textContent = option.hint;
        item.append(hint);
      }
      // Before the field loses the focus.
      item.addEventListener('mousedown', (event) => { event.preventDefault(); take(option); });
      return item;
    }));
    list.hidden = false;
    input.setAttribute('aria-expanded', 'true');
    mark();
  }

  input.addEventListener('input', open);
  input.addEventListener('blur', close);
  input.addEventListener('keydown', (event) => {
    if (list.hidden) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      active = (active + (event.key === 'ArrowDown' ? 1 : -1) + shown.length + 1) % (shown.length + 1);
      if (active === shown.length) active = -1;
      mark();
    } else if ((event.key === 'Enter' || event.key === 'Tab') && active >= 0) {
      event.preventDefault();
      take(shown[active]);
    } else if (event.key === 'Escape') {
      event.preventDefault();
      close();
    }
  });
}
$$('input[data-keys]').forEach(complete);
