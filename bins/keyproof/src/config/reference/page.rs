//! The table as a text, as a Markdown page and as a man page.

use std::fmt::Write;

use roff::{Roff, bold, roman};

use super::Key;

/// What the page says before its table.
const HEAD: &str = "\
# Every key of the configuration

*This page is `keyproof config reference --format markdown`; `--format text` prints it for a terminal, and `--format man` is \
`keyproof.toml(5)`.*

Flags of `keyproof serve` win over the environment, the environment over the file (TOML, `--config FILE`), the file over the \
defaults. A key's variable is `KEYPROOF_` and its name in capitals, with `__` for each dot: `KEYPROOF_HTTP__LISTEN`. What is \
unknown is refused, with its line. `keyproof config check` prints what is in force, and warns of what is unwise.

- A **time** has its unit: `\"500ms\"`, `\"10s\"`, `\"1m 30s\"`, `\"2h\"`, `\"7d\"`. So has a **size**: `\"64KiB\"`, `\"1MiB\"`.
- Where a second name is given, it takes a bare number of the unit that it ends in. Both names at once are refused.
- The master key has a variable and no key: `KEYPROOF_STORE__MASTER_KEY_BASE64`.
";

/// The table for a terminal: a key and its default as a file has them, then what they are.
pub fn text(keys: &[Key]) -> String {
    let mut page = String::new();
    for key in keys {
        // A String takes all that is written to it.
        let _ = if is_value(&key.default) {
            writeln!(page, "{} = {}", key.name, key.default)
        } else {
            writeln!(page, "{}   (default: {})", key.name, key.default)
        };
        let _ = writeln!(page, "    {}", sorts(key).join("; "));
        let _ = writeln!(page, "    {}\n", key.meaning);
    }
    page.truncate(page.trim_end().len());
    page
}

/// The page docs/operate/configuration.md.
pub fn markdown(keys: &[Key]) -> String {
    let mut page = HEAD.to_owned();
    let mut last = "";
    for key in keys {
        let section = section(&key.name);
        if section != last {
            let _ = write!(
                page,
                "\n## `{section}`\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
            );
            last = section;
        }
        let older = key.older.as_ref().map_or_else(String::new, |older| {
            format!(" Or `{}`, a number.", older.name)
        });
        let default = match &key.default {
            value if is_value(value) => format!("`{value}`"),
            words => words.clone(),
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {}{older} |",
            key.name,
            cell(&key.form),
            cell(&default),
            cell(&key.meaning)
        );
    }
    page.truncate(page.trim_end().len());
    page
}

/// The man page `keyproof.toml(5)`.
pub fn roff(keys: &[Key]) -> String {
    let mut page = Roff::new();
    page.control(
        "TH",
        [
            "keyproof.toml",
            "5",
            "",
            concat!("keyproof ", env!("CARGO_PKG_VERSION")),
        ],
    );
    page.control("SH", ["NAME"]);
    page.text([roman("keyproof.toml - the configuration of keyproof")]);
    page.control("SH", ["DESCRIPTION"]);
    let head = HEAD.split("\n\n").skip(2);
    for paragraph in head {
        for item in paragraph.split("\n- ") {
            let item = item.trim().trim_start_matches("- ");
            page.control("PP", []);
            page.text([roman(item.replace(['`', '*'], "").replace('\n', " "))]);
        }
    }
    page.control("SH", ["KEYS"]);
    for key in keys {
        page.control("TP", []);
        let default = if is_value(&key.default) {
            format!(" = {}", key.default)
        } else {
            format!("   (default: {})", key.default)
        };
        page.text([bold(&key.name), roman(default)]);
        page.text([roman(&key.meaning)]);
        page.control("br", []);
        page.text([roman(sorts(key).join("; "))]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("keyproof"), roman("(1)")]);
    let mut page = page.to_roff();
    page.truncate(page.trim_end().len());
    page
}

/// What a value is, and the key's other names.
fn sorts(key: &Key) -> Vec<String> {
    let mut sorts = vec![key.form.clone()];
    sorts.extend(key.older.as_ref().map(|older| {
        let unit = older.quantity.unit();
        format!("or {}, a number of {unit}", older.name)
    }));
    sorts.extend(key.variable());
    sorts
}

/// The table that a key is in: that of its dialect, all of them in one.
fn section(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether a default is one that a file could have.
pub(super) fn is_value(default: &str) -> bool {
    format!("value = {default}").parse::<toml::Table>().is_ok()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
