//! Charts of the benchmarks' ratios: each has a bar from its aim, to the right if it is better, to the left if it
//! misses it.

use std::fmt::Write;

use crate::bench::Ratio;

const ROW: f64 = 20.0;
const TOP: f64 = 84.0;
/// The right end of the names, where bars may begin.
const LEFT: f64 = 560.0;
/// The width of a factor of two.
const DOUBLING: f64 = 40.0;
/// The longest bar, in doublings from the aim.
const REACH: f64 = 3.0;
const WIDTH: f64 = 1_020.0;

const MET: &str = "#2a7f62";
const MISSED: &str = "#b5443a";

const LEGEND: [&str; 2] = [
    "An aim was set for each figure before it was measured: how far it may be from a raw limit of the machine, or from a peer.",
    "A bar begins at its aim: green, to the right, so many times better than that; red, to the left, so many times short of it.",
];

/// A ratio in README, in words for readers who do not know the benchmarks.
struct Main {
    bench: &'static str,
    /// The start of its heading.
    under: &'static str,
    /// The start of its name.
    what: &'static str,
    label: &'static str,
}

impl Main {
    const fn new(
        bench: &'static str,
        under: &'static str,
        what: &'static str,
        label: &'static str,
    ) -> Self {
        Self {
            bench,
            under,
            what,
            label,
        }
    }

    /// Returns the last match: the one with the largest store, if several are measured.
    fn find<'a>(&self, ratios: &'a [Ratio]) -> Option<&'a Ratio> {
        let fits = |ratio: &&Ratio| ratio.is(self.bench, self.under, self.what);
        ratios.iter().rev().find(fits)
    }
}

/// The contents of the short chart, in this order.
const MAIN: [Main; 14] = [
    Main::new(
        "store",
        "commits",
        "durable commits at 256",
        "durable commits a second at 256 callers, of the disk's own syncs",
    ),
    Main::new(
        "store",
        "2048 users, 400000",
        "KiB to disk",
        "KiB to disk for a login's records",
    ),
    Main::new(
        "login",
        "256",
        "logins, of single",
        "second steps of logins over HTTP, of batches of one replacement",
    ),
    Main::new(
        "login",
        "256",
        "logins, of the store's",
        "second steps of logins over HTTP, of the store's commits for them",
    ),
    Main::new(
        "http",
        "Taler: a device",
        "processor time at 32",
        "Taler, a read at 32 connections: processor time, of bare hyper's",
    ),
    Main::new(
        "http",
        "F5: a manager",
        "processor time at 32",
        "F5, a read at 32 connections: processor time, of bare hyper's",
    ),
    Main::new(
        "http",
        "emnify: trusted",
        "processor time at 32",
        "emnify, a read at 32 connections: processor time, of bare hyper's",
    ),
    Main::new(
        "http",
        "Taler: a device",
        "rate at 32",
        "Taler, a read at 32 connections: rate, of bare hyper's",
    ),
    Main::new(
        "http",
        "Taler: a device",
        "p50 at 1 ",
        "Taler, a read at 1 connection: median time, of bare hyper's",
    ),
    Main::new("http", "", "KiB a kept", "KiB a kept idle connection"),
    Main::new(
        "server",
        "median",
        "MiB resident while idle after",
        "MiB of memory, idle after 100 logins by password",
    ),
    Main::new(
        "site",
        "a page",
        "p50 at 1 connection",
        "the console's list of 50 users: p50, of bare hyper's",
    ),
    Main::new(
        "growth",
        "SQLite",
        "second step of a login, p50",
        "second step of a login in a million records: median, of that in ten thousand",
    ),
    Main::new(
        "growth",
        "SQLite",
        "read of a device, p50",
        "read of a device in a million records: median, of that in ten thousand",
    ),
];

/// Draws all ratios, in the given order.
pub(crate) fn whole(ratios: &[Ratio]) -> String {
    let rows: Vec<Row<'_>> = ratios
        .iter()
        .map(|ratio| Row {
            label: ratio.name(),
            ratio,
        })
        .collect();
    draw("Every ratio of the benchmarks beside its aim", &rows)
}

/// Draws the main ratios that were measured, for README.
pub(crate) fn short(ratios: &[Ratio]) -> String {
    let rows: Vec<Row<'_>> = MAIN
        .iter()
        .filter_map(|main| {
            let label = main.label.to_owned();
            main.find(ratios).map(|ratio| Row { label, ratio })
        })
        .collect();
    draw("The main ratios of the benchmarks beside their aims", &rows)
}

struct Row<'a> {
    label: String,
    ratio: &'a Ratio,
}

/// Draws rows on an opaque background, so that the chart is readable on any page.
fn draw(title: &str, rows: &[Row<'_>]) -> String {
    let height = TOP + ROW * number(rows.len()) + 12.0;
    let aim = LEFT + REACH * DOUBLING;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (line, text) in LEGEND.iter().enumerate() {
        let y = 18.0 + 18.0 * number(line);
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{y}\" fill=\"#333333\">{text}</text>"
        );
    }
    for doublings in -3_i32..=3 {
        let x = aim + f64::from(doublings) * DOUBLING;
        let times = 2_u32.pow(doublings.unsigned_abs());
        let mark = match doublings.signum() {
            0 => "aim".to_owned(),
            1 => format!("&#215;{times}"),
            _ => format!("&#247;{times}"),
        };
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{x}\" y2=\"{height}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{x}\" y=\"{base}\" text-anchor=\"middle\" fill=\"#777777\">{mark}</text>",
            y = TOP - 6.0,
            base = TOP - 12.0,
        );
    }
    for (number_of_row, row) in rows.iter().enumerate() {
        bar(&mut svg, TOP + ROW * number(number_of_row), aim, row);
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, top: f64, aim: f64, row: &Row<'_>) {
    let doublings = row.ratio.times_better().log2().clamp(-REACH, REACH);
    let width = (doublings * DOUBLING).abs().max(1.0);
    let x = if doublings < 0.0 { aim - width } else { aim };
    let color = if doublings < 0.0 { MISSED } else { MET };
    let _ = writeln!(
        svg,
        "<text x=\"{name}\" y=\"{base}\" text-anchor=\"end\" fill=\"#333333\">{label}</text>\n\
         <rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"12\" fill=\"{color}\"/>\n\
         <text x=\"{end}\" y=\"{base}\" fill=\"#333333\">{value}</text>",
        name = LEFT - 12.0,
        base = top + 14.0,
        label = escaped(&row.label),
        y = top + 4.0,
        end = LEFT + 2.0 * REACH * DOUBLING + 12.0,
        value = escaped(&row.ratio.aim()),
    );
}

fn number(of: usize) -> f64 {
    f64::from(u32::try_from(of).unwrap_or(u32::MAX))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tests::{ratios, recorded};

    #[test]
    fn what_misses_its_aim_goes_to_the_left_of_it() {
        let svg = whole(&ratios());
        let aim = LEFT + REACH * DOUBLING;
        let bars: Vec<(f64, &str)> = svg
            .lines()
            .filter(|line| line.contains("height=\"12\""))
            .map(|line| {
                let number = line.split('"').nth(1).unwrap().parse().unwrap();
                (number, if line.contains(MET) { "met" } else { "missed" })
            })
            .collect();
        assert_eq!(bars.len(), 2);
        assert!(bars[0].0 < aim && bars[0].1 == "missed");
        assert!(bars[1].0 == aim && bars[1].1 == "met");
    }

    #[test]
    fn names_are_text_and_no_markup() {
        assert_eq!(escaped("a < b & c"), "a &lt; b &amp; c");
    }

    #[test]
    fn each_main_ratio_is_on_record_and_each_is_another() {
        let recorded = recorded();
        let found: Vec<String> = MAIN
            .iter()
            .map(|main| {
                let ratio = main.find(&recorded);
                ratio.unwrap_or_else(|| panic!("{}", main.label)).name()
            })
            .collect();
        for (number, name) in found.iter().enumerate() {
            assert!(!found[number + 1..].contains(name), "{name}");
        }
        assert_eq!(short(&recorded).matches("height=\"12\"").count(), 14);
    }

    #[test]
    fn the_last_and_largest_store_stands_for_growth() {
        let recorded = recorded();
        let main = MAIN.iter().find(|main| main.bench == "growth").unwrap();
        let name = main.find(&recorded).unwrap().name();
        let is_it = |name: &String| name.contains("SQLite") && name.contains("login, p50");
        let last = recorded.iter().rev().map(Ratio::name).find(is_it);
        assert_eq!(Some(name), last);
    }

    #[test]
    fn the_charts_that_pages_show_are_drawn_from_the_record() {
        let recorded = recorded();
        let drawn = "draw them by `cargo xtask bench --draw`";
        assert!(
            whole(&recorded) == include_str!("../../../benches/ratios.svg"),
            "{drawn}"
        );
        assert!(
            short(&recorded) == include_str!("../../../benches/ratios-main.svg"),
            "{drawn}"
        );
    }
}
