//! The table as text, as a Markdown page and as a man page.

use std::fmt::Write;

use roff::{Roff, bold, roman};

use super::Key;

/// The page's introduction.
const HEAD: &str = "\
# Every key of the configuration

*This page is `keyproof config reference --format markdown`; `--format text` prints it for a terminal, and `--format man` is \
`keyproof.toml(5)`.*

Flags of `keyproof serve` win over the environment, the environment over the file (TOML, `--config FILE`), the file over the \
defaults. A key's variable is `KEYPROOF_` and its name in capitals, with `__` for each dot: `KEYPROOF_HTTP__LISTEN`. An \
unknown key is an error; in a file, the error has its line. `keyproof config check` prints the effective configuration, and \
warns of unwise settings.

- A **time** has a unit: `\"500ms\"`, `\"10s\"`, `\"1m 30s\"`, `\"2h\"`, `\"7d\"`. So has a **size**: `\"64KiB\"`, `\"1MiB\"`.
- Some keys have a second name, which takes a plain number in the unit that it ends in. Setting both is an error.
- The master key has no key in the file, only a variable: `KEYPROOF_STORE__MASTER_KEY_BASE64`.
";

/// Renders the table for a terminal: a key and its default as in a file, then its types, names and meaning.
pub fn text(keys: &[Key]) -> String {
    let mut page = String::new();
    for key in keys {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{}{}", key.name, default_of(key));
        let _ = writeln!(page, "    {}", sorts(key).join("; "));
        let _ = writeln!(page, "    {}\n", key.meaning);
    }
    page.truncate(page.trim_end().len());
    page
}

/// Renders the page docs/operate/configuration.md.
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

/// Renders the man page `keyproof.toml(5)`.
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
        page.text([bold(&key.name), roman(default_of(key))]);
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

/// Returns the default as it follows the key's name.
fn default_of(key: &Key) -> String {
    if is_value(&key.default) {
        format!(" = {}", key.default)
    } else {
        format!("   (default: {})", key.default)
    }
}

/// Returns the kind of value and the key's other names.
fn sorts(key: &Key) -> Vec<String> {
    let mut sorts = vec![key.form.clone()];
    sorts.extend(key.older.as_ref().map(|older| {
        let unit = older.quantity.unit();
        format!("or {}, a number of {unit}", older.name)
    }));
    sorts.extend(key.variable());
    sorts
}

/// Returns the section of a key: its top-level table.
fn section(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether a default can be written in a file.
pub(super) fn is_value(default: &str) -> bool {
    format!("value = {default}").parse::<toml::Table>().is_ok()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
