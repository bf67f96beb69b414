//! Checks the alerts and the dashboard's queries with Prometheus' own tool, and that their metrics exist.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../contrib/prometheus/keyproof.rules.yml"
);
const DASHBOARD: &str = include_str!("../../../../contrib/grafana/keyproof.json");
const LIST: &str = include_str!("../../../../docs/operate/metrics.md");

fn promtool(arguments: &[&str], file: &Path) -> Output {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).arg(file).output().unwrap()
}

#[track_caller]
fn passes(arguments: &[&str], file: &Path) {
    let output = promtool(arguments, file);
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

/// Returns the queries of each panel, with any instance in place of the variable.
fn questions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let questions = targets.map(|target| target["expr"].as_str().unwrap());
    questions
        .map(|question| question.replace("$__rate_interval", "1m"))
        .collect()
}

#[test]
fn the_alerts_and_the_dashboard_are_promql_over_metrics_that_there_are() {
    passes(&["check", "rules"], Path::new(RULES));
    let folder = TempDir::new().unwrap();
    let rules: Vec<_> = questions()
        .iter()
        .enumerate()
        .map(|(number, question)| {
            let record = format!("panel:{number}");
            serde_json::json!({ "record": record, "expr": question })
        })
        .collect();
    assert!(!rules.is_empty());
    // JSON is valid YAML.
    let rules = serde_json::json!({ "groups": [{ "name": "panels", "rules": rules }] });
    let panels = folder.path().join("panels.yml");
    fs::write(&panels, rules.to_string()).unwrap();
    passes(&["check", "rules"], &panels);

    let listed = LIST.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<_> = listed.filter_map(|line| line.split('`').next()).collect();
    let alerts = fs::read_to_string(RULES).unwrap();
    let texts = questions().into_iter().chain([alerts]);
    for text in texts {
        let names = text.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'));
        let ours = |name: &&str| name.starts_with("keyproof_") || name.starts_with("process_");
        for name in names.filter(ours) {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(listed.contains(family), "{name}");
        }
    }
}

#[test]
fn the_job_that_alerts_and_panels_select_is_the_one_that_operators_are_told() {
    let (_, rest) = LIST.split_once("```\nscrape_configs:\n").unwrap();
    let (jobs, _) = rest.split_once("```").unwrap();
    let folder = TempDir::new().unwrap();
    let configuration = folder.path().join("prometheus.yml");
    fs::write(&configuration, format!("scrape_configs:\n{jobs}")).unwrap();
    passes(&["check", "config"], &configuration);
    let (_, rest) = jobs.split_once("job_name: ").unwrap();
    let told = rest.lines().next().unwrap();
    let alerts = fs::read_to_string(RULES).unwrap();
    for text in [alerts, questions().join("\n")] {
        let selected = text.split("job=\"").skip(1);
        let selected: BTreeSet<_> = selected.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(selected, BTreeSet::from([told]));
    }
}

/// Returns the minute of a series' last value: `0 1x3` has the values of the minutes 0 to 4.
fn minutes(values: &str) -> usize {
    let samples = |word: &str| {
        let repeated = word.split_once('x');
        1 + repeated.map_or(0, |(_, times)| times.parse::<usize>().unwrap())
    };
    values.split(' ').map(samples).sum::<usize>() - 1
}

#[test]
fn alerts_ring_when_they_should_and_not_before() {
    let folder = TempDir::new().unwrap();
    let tests = folder.path().join("tests.yml");
    // Each series, its values minute by minute, and the alert that fires at the end, if any.
    let locks = "keyproof_locks_total{instance=\"a\",domain=\"accounts\"}";
    let start = "process_start_time_seconds{instance=\"a\",job=\"keyproof\"}";
    let of_store = "keyproof_store_connections_waiting{instance=\"a\"}";
    let ends = "keyproof_dps_certificate_expiry_timestamp_seconds{instance=\"a\"}";
    let clock = "keyproof_store_clock_difference_seconds{instance=\"a\"}";
    let rounds = "keyproof_upkeep_rounds_total{instance=\"a\",outcome=\"done\"}";
    let behind = "keyproof_upkeep_behind{instance=\"a\"}";
    let trials = [
        (clock, "10x20", "KeyproofClockApart", false),
        (clock, "0x10 11x9", "KeyproofClockApart", true),
        (rounds, "0+1x20", "KeyproofUpkeepStands", false),
        (rounds, "0 0 0+1x18", "KeyproofUpkeepStands", false),
        (rounds, "7x20", "KeyproofUpkeepStands", true),
        // A server that has just started, and finds what expired while none ran.
        (behind, "1x59", "KeyproofUpkeepBehind", false),
        (behind, "1x61", "KeyproofUpkeepBehind", true),
        // Thirty days are 2,592,000 s, and the test ends at 1,200 s.
        (ends, "2594000x20", "KeyproofCaCertificateEnds", false),
        (ends, "2593000x20", "KeyproofCaCertificateEnds", true),
        (locks, "0+1x20", "KeyproofManyLocks", false),
        (locks, "0+3x20", "KeyproofManyLocks", true),
        (start, "0x20", "KeyproofRestartsAgain", false),
        (start, "0 1 2x18", "KeyproofRestartsAgain", false),
        (start, "0 1 2 3 4x16", "KeyproofRestartsAgain", true),
        (
            of_store,
            "0x15 1x4",
            "KeyproofDatabaseConnectionsShort",
            false,
        ),
        (
            of_store,
            "0x10 1x9",
            "KeyproofDatabaseConnectionsShort",
            true,
        ),
    ];
    for (series, values, alert, rings) in trials {
        let end = format!("{}m", minutes(values));
        let rule = serde_json::json!({ "eval_time": end, "alertname": alert, "exp_alerts": [] });
        let trial = serde_json::json!({
            "rule_files": [RULES],
            "evaluation_interval": "1m",
            "tests": [{
                "interval": "1m",
                "input_series": [{ "series": series, "values": values }],
                "alert_rule_test": [rule],
            }],
        });
        fs::write(&tests, trial.to_string()).unwrap();
        // The test fails if an unexpected alert fires.
        let is_silent = promtool(&["test", "rules"], &tests).status.success();
        assert_eq!(is_silent, !rings, "{series} {values}");
    }
}
