//! Logins across three nodes: codes, wrong guesses, and the keys that sign access tokens.

use serde_json::json;

use super::{NODES, count};
use crate::{
    client::{Answer, Call},
    clock::{Clock, Faketime},
    cluster::Cluster,
    installation::Installation,
    load::{PASSWORD, User},
};

const USER: &str = "ada";
const DAY: i64 = 24 * 60 * 60;

/// Three nodes, and a user with a phone.
async fn furnished() -> (Cluster, User) {
    let cluster = Cluster::start(Installation::on_postgres(), NODES);
    let clock = Clock::default();
    let user = User::add(&cluster.installation, &cluster.fleet, &clock, USER).await;
    (cluster, user)
}

impl Cluster {
    /// Opens a challenge at a node.
    async fn challenge(&self, node: usize, user: &User) -> String {
        let challenged = self.send(node, &user.login(PASSWORD)).await;
        challenged.text("mfa_token")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_logins_with_one_code_are_one_login() {
    let (cluster, user) = furnished().await;
    let code = user.next_code(&Clock::default().read().await);
    let mut challenges = Vec::new();
    for number in 0..50 {
        challenges.push(cluster.challenge(number, &user).await);
    }
    let mut answers = Vec::new();
    // Ten waves of a hundred: the code stays spent from one wave to the next.
    for _ in 0..10 {
        let wave = (0..100).map(|number| user.answer(&challenges[number % 50], &code));
        answers.extend(cluster.race(wave).await);
    }
    assert_eq!(count(&answers, 200, 401), Some(1), "{answers:?}");
    // None of the 999 other attempts was counted as a wrong guess.
    for node in 0..NODES {
        cluster.challenge(node, &user).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_wrong_codes_three_are_judged() {
    let (cluster, user) = furnished().await;
    let wrong = user.wrong_code(&Clock::default().read().await);
    let challenge = cluster.challenge(0, &user).await;
    let answers = (0..200).map(|_| user.answer(&challenge, &wrong));
    let answers = cluster.race(answers).await;
    assert_eq!(count(&answers, 401, 401), Some(200), "{answers:?}");
    // The third one that is checked gets the same answer as the unchecked ones: too many attempts.
    let judged = answers.iter().filter(|answer| answer.json.is_null());
    let judged: Vec<_> = judged.map(|answer| answer.request_id.as_deref()).collect();
    assert_eq!(judged.len(), 2);
    // The trail has these three as one event, or as two if a minute ended between them, with their request ids.
    let trail = cluster.installation.trail();
    let told: Vec<_> = trail
        .iter()
        .filter(|event| {
            event["detail"]
                .as_str()
                .is_some_and(|why| why.contains("Invalid MFA code"))
        })
        .collect();
    let counts = told
        .iter()
        .map(|event| event["count"].as_u64().unwrap_or(1));
    assert_eq!(counts.sum::<u64>(), 3, "{told:?}");
    let text = format!("{told:?}");
    for request in judged {
        assert!(text.contains(request.unwrap()), "{request:?}: {text}");
    }
    for node in 0..NODES {
        let locked = cluster.send(node, &user.login(PASSWORD)).await;
        assert_eq!(locked.json["error_code"], 1105);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_not_the_databases_is_ready_with_a_warning() {
    let installation = Installation::on_postgres();
    let faketime = Faketime::new(installation.folder());
    let clock = Clock::default();
    faketime.set(&clock, 0).await;
    let cluster = faketime.serve(installation, 1);
    for (offset, is_warned) in [(30, false), (31 * DAY, true), (-DAY, true), (0, false)] {
        faketime.set(&clock, offset).await;
        let answer = cluster.send(0, &Call::new("GET", "/readyz")).await;
        assert_eq!(answer.status, 200, "{offset}: {answer:?}");
        let warning =
            "\nwarning: this server's clock and the database's are more than a minute apart";
        assert_eq!(
            answer.body.contains(warning),
            is_warned,
            "{offset}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_node_holds_on_all_and_outlives_a_change_of_keys() {
    let installation = Installation::on_postgres();
    let faketime = Faketime::new(installation.folder());
    let clock = Clock::default();
    // A key is replaced only while the nodes' clocks agree with the database's, so the key must be a month old.
    faketime.set(&clock, 40 - 30 * DAY).await;
    let cluster = faketime.serve(installation, NODES);
    let add = ["user", "add", USER, "--organisation", "org", "--stdin"];
    cluster.installation.run(&add, PASSWORD);
    let login = json!({ "username": USER, "password": PASSWORD });
    let login = || Call::new("POST", "/api/v1/authenticate").json(&login);
    // One token from each node, requested concurrently.
    let tokens = async || {
        let answers = cluster.race((0..NODES).map(|_| login())).await;
        let tokens = answers.iter().map(|answer| answer.text("auth_token"));
        tokens.collect::<Vec<_>>()
    };
    let hold = async |tokens: &[String]| {
        for token in tokens {
            let whoami = (0..NODES).map(|_| Call::new("GET", "/api/v1/user").bearer(token));
            let answers = cluster.race(whoami).await;
            assert_eq!(count(&answers, 200, 200), Some(NODES), "{answers:?}");
        }
    };
    let keys = async |node| {
        let set = Call::new("GET", "/keyproof/v1/jwks.json");
        let Answer { json, .. } = cluster.send(node, &set).await;
        json["keys"].as_array().unwrap().clone()
    };

    let first = tokens().await;
    hold(&first).await;
    assert_eq!(keys(0).await.len(), 1);
    // A key signs for thirty days. These logins are the last before its end, a minute and a half ahead.
    faketime.set(&clock, -50).await;
    let last = tokens().await;
    hold(&last).await;
    assert_eq!(keys(1).await.len(), 1);
    faketime.set(&clock, 50).await;
    let next = tokens().await;
    hold(&next).await;
    hold(&last).await;
    for node in 0..NODES {
        assert_eq!(keys(node).await.len(), 2, "one more, whoever made it");
    }
}
