//! A user at a browser, who looks at each page as a person does: wide and narrow, enlarged, in light and in dark.

use std::{env, fs, path::Path, sync::Arc};

use keyproof_service::ManualClock;
use serde_json::Value;

use super::{axe, driver::Driver};

/// Finds faults that a person would see at once but axe-core does not check: the page scrolls sideways, something is cut off, a
/// word that fits on a line is broken, buttons touch a text, fields of a form have different heights, compared columns have
/// different widths, lines of code are too close to each other, or a check's name is broken.
const LAYOUT: &str = r"
const width = document.documentElement.clientWidth, wrong = [], range = document.createRange();
const called = e => e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 40);
const wide = document.documentElement.scrollWidth;
if (wide > width) wrong.push('the page is ' + wide + ' wide');
const isClipped = e => e && (getComputedStyle(e).clipPath !== 'none' || isClipped(e.parentElement));
for (const e of document.body.querySelectorAll('*')) {
  if (e.closest('pre *, svg *, option, datalist') || isClipped(e)) continue;
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (e.tabIndex > 0) wrong.push('out of order: ' + called(e));
  if (box.width && (box.right > width + 1 || box.left < -1)) wrong.push('cut: ' + called(e));
  if (/hidden|auto/.test(style.overflowX) && e.scrollWidth > e.clientWidth + 1 && !e.matches('input, textarea'))
    wrong.push('hidden: ' + called(e));
  if (e.matches('.hint + .actions, .actions + .hint') && box.top < e.previousElementSibling.getBoundingClientRect().bottom + 4)
    wrong.push('no room above: ' + called(e));
  if (e.tagName === 'CODE' && style.lineHeight === 'normal') wrong.push('lines are too near: ' + called(e));
  if (e.tagName === 'SELECT') {
    const pen = document.createElement('canvas').getContext('2d');
    pen.font = style.font;
    const room = e.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 16;
    for (const option of e.options)
      if (pen.measureText(option.text).width > room) wrong.push('no room: ' + option.text);
  }
}
const fields = [...document.querySelectorAll('.filter :is(input:not([type=hidden]), select)')];
const heights = new Set(fields.map(e => Math.round(e.getBoundingClientRect().height)));
if (heights.size > 1) wrong.push('fields are ' + [...heights] + ' high');
if (width > 960)
  for (const table of document.querySelectorAll('.compared')) {
    const widths = [...table.querySelectorAll('thead th')].slice(1).map(e => e.getBoundingClientRect().width);
    if (Math.max(...widths) > Math.min(...widths) + 1) wrong.push('columns are ' + widths + ' wide: ' + called(table));
  }
for (const name of document.querySelectorAll('.checks tbody th')) {
  range.selectNodeContents(name);
  if (range.getClientRects().length > 1) wrong.push('broken: ' + called(name));
}
for (const text of document.querySelectorAll('svg text')) {
  const box = text.getBoundingClientRect(), drawing = text.closest('svg').getBoundingClientRect();
  if (box.left < drawing.left || box.right > drawing.right + 1) wrong.push('cut: ' + called(text));
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const text = texts.currentNode;
  if (text.parentElement.closest('pre, svg, option, datalist, script, .secret') || isClipped(text.parentElement)) continue;
  for (const word of text.data.matchAll(/[\p{L}\p{N}]{2,24}/gu)) {
    // Part of a longer word must be broken somewhere, and a secret is copied, not read.
    if (/[\p{L}\p{N}]/u.test(text.data[word.index + word[0].length] ?? ' ')) break;
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
    if (lines.size > 1) wrong.push('broken: ' + word[0] + ' in ' + called(text.parentElement));
  }
}
return wrong;
";

/// The maximum height of a picture, in pixels: for long lists the beginning is enough.
const HIGHEST: u64 = 1_800;

pub(super) struct Guest {
    /// The site, whose name is in the pictures' file names.
    pub(super) site: &'static str,
    pub(super) browser: Driver,
    pub(super) base: String,
    /// The source of axe-core, if scripts run.
    pub(super) axe: Option<String>,
}

impl Guest {
    pub(super) fn new(
        site: &'static str,
        base: String,
        runs_scripts: bool,
        clock: Option<Arc<ManualClock>>,
    ) -> Self {
        Self {
            site,
            browser: Driver::start(runs_scripts, clock),
            base,
            axe: runs_scripts.then(axe),
        }
    }

    pub(super) fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.base));
    }

    /// Types into a field, and submits its form.
    pub(super) fn fill_in(&self, field: &str, text: &str) {
        self.browser.send(field, text);
    }

    pub(super) fn seen(&self, css: &str) -> String {
        self.browser.text(css)
    }

    #[track_caller]
    pub(super) fn sees(&self, text: &str) {
        let seen = self.seen("main");
        assert!(seen.contains(text), "{text:?} is not in {seen}");
    }

    /// Asserts that a page is in order, at every width, in both colour schemes and enlarged: 640 pixels correspond to a window of
    /// 1280 at 200 %.
    #[track_caller]
    pub(super) fn looks(&self, page: &str) {
        self.looks_with(page, None, HIGHEST);
    }

    /// The same for a page that is worth seeing to its end.
    #[track_caller]
    pub(super) fn looks_whole(&self, page: &str) {
        self.looks_with(page, None, u64::MAX);
    }

    /// The same for a page that the browser has scrolled to this element: a phone shows it from there on.
    #[track_caller]
    pub(super) fn looks_from(&self, page: &str, id: &str) {
        self.looks_with(page, Some(id), HIGHEST);
    }

    #[track_caller]
    fn looks_with(&self, page: &str, led_to: Option<&str>, highest: u64) {
        for (name, width, scale, scheme) in [
            ("light", 1000, 1, "light"),
            ("dark", 1000, 1, "dark"),
            ("zoomed", 640, 2, "light"),
            ("narrow", 320, 1, "light"),
            ("tablet", 768, 1, "light"),
            // The width at which tables are tightest.
            ("window", 961, 1, "light"),
        ] {
            let Some(axe) = &self.axe else { break };
            self.browser.emulate(width, scale, scheme);
            let wrong = self.browser.run(LAYOUT);
            assert_eq!(wrong, Value::Array(Vec::new()), "{page}, {name}");
            if ["zoomed", "tablet", "window"].contains(&name) {
                continue;
            }
            self.browser.run(&format!("{axe}; window.axe = axe;"));
            let found = self.browser.run_async(
                "const done = arguments[arguments.length - 1]; \
                 axe.run().then(found => done([found.violations, found.passes.length]))",
            );
            assert_eq!(found[0], Value::Array(Vec::new()), "{page}, {name}");
            assert!(found[1].as_u64().unwrap() > 5, "axe has judged {page}");
            if let Ok(folder) = env::var("KEYPROOF_PICTURES") {
                let file = Path::new(&folder).join(format!("{}-{page}-{name}.png", self.site));
                let led_to = led_to.filter(|_| name == "narrow");
                let top = led_to.map_or(0, |id| self.top_of(id));
                let picture = self.browser.picture(width, top, highest);
                fs::write(file, picture).unwrap();
            }
        }
        self.browser.emulate(1000, 1, "light");
        for entry in self.browser.log("browser") {
            let is_bad = ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap());
            // A form that is rejected on purpose is answered with an error status, which Chromium logs.
            let message = entry["message"].as_str().unwrap();
            let is_refusal = ["404", "409", "422", "429"]
                .iter()
                .any(|refusal| message.contains(&format!("status of {refusal}")));
            assert!(!is_bad || is_refusal, "{page}: {entry}");
        }
    }

    /// Returns the vertical position of the element with this id, in pixels.
    fn top_of(&self, id: &str) -> u64 {
        let script = format!(
            "return Math.floor(document.getElementById('{id}').getBoundingClientRect().top + scrollY)"
        );
        self.browser.run(&script).as_u64().unwrap()
    }

    /// Makes the browser as narrow as a phone until the next page is checked.
    pub(super) fn use_a_phone(&self) {
        self.browser.emulate(320, 1, "light");
    }

    /// Asserts that this is visible without scrolling.
    #[track_caller]
    pub(super) fn shows_at_once(&self, css: &str) {
        self.holds(&format!(
            "const box = document.querySelector('{css}').getBoundingClientRect(); \
             return box.top >= 0 && box.bottom <= innerHeight"
        ));
    }

    /// Asserts that a script returns true, now or soon. Does nothing if scripts are disabled.
    #[track_caller]
    pub(super) fn holds(&self, script: &str) {
        if self.axe.is_some() {
            self.browser.wait_until(script);
        }
    }

    /// Asserts that the printed page shows this element, no buttons, and tables as tables.
    #[track_caller]
    pub(super) fn is_printed_with(&self, css: &str) {
        if self.axe.is_none() {
            return;
        }
        // A sheet of A4 is narrower than most windows.
        self.browser.emulate(700, 1, "light");
        self.browser.emulate_print();
        assert!(self.browser.is_shown(css), "{css} is printed");
        let tables = "return [...document.querySelectorAll('table')] \
                      .every(e => getComputedStyle(e.rows[0]).display === 'table-row')";
        assert_eq!(self.browser.run(tables), true, "tables are printed as such");
        let shown = "return [...document.querySelectorAll('header, footer, button, .button')] \
                     .filter(e => e.checkVisibility()).map(e => e.textContent)";
        assert_eq!(self.browser.run(shown), Value::Array(Vec::new()));
        self.browser.emulate(1000, 1, "light");
    }

    /// Asserts that the page works by keyboard: the first stop skips the common navigation, and the focus is always visible.
    #[track_caller]
    pub(super) fn skips_to_the_content(&self) {
        if self.axe.is_none() {
            return;
        }
        self.browser.press_tab();
        let focused = |what: &str| {
            let script = format!("const e = document.activeElement; return {what}");
            self.browser.run(&script)
        };
        assert_eq!(focused("e.className"), "skip");
        let outline = focused("getComputedStyle(e).outlineStyle");
        assert_eq!(outline, "solid", "the focus is seen");
        assert!(
            focused("e.getBoundingClientRect().height")
                .as_f64()
                .unwrap()
                > 20.0
        );
        self.browser.press_enter();
        assert_eq!(focused("e.id"), "content");
        self.browser.press_tab();
        assert_eq!(focused("e.closest('main') !== null"), true);
    }

    /// Asserts that every request of the browser went to the server.
    pub(super) fn browser_asked_nobody_else(&self) {
        let mut asked = 0;
        for entry in self.browser.log("performance") {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            if message["message"]["method"] == "Network.requestWillBeSent" {
                let url = message["message"]["params"]["request"]["url"]
                    .as_str()
                    .unwrap();
                // The browser's own pages are in the log, such as the empty start page.
                let is_own = url.starts_with("chrome:") || url.starts_with("data:");
                assert!(is_own || url.starts_with(&self.base), "{url}");
                asked += u32::from(!is_own);
            }
        }
        assert!(asked > 20, "the browser tells its requests");
        assert!(self.browser.address().starts_with(&self.base));
    }
}
