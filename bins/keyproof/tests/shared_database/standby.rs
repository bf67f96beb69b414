//! A failover to a synchronous standby, and what clients were told before it.

use std::process::Command;

use super::{Node, Site, until};

const DEVICES: &str = "/instances/shop/private/otp-devices";
const CERTIFICATES: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/p/certificates";

impl Site {
    fn sql(&self, sql: &str) -> String {
        let psql = self
            .server
            .program("psql")
            .args([
                "-XAtq",
                "-c",
                "SET synchronous_commit = local",
                "-c",
                sql,
                &self.url,
            ])
            .output()
            .unwrap();
        assert!(psql.status.success(), "{psql:?}");
        String::from_utf8(psql.stdout).unwrap().trim().to_owned()
    }

    /// Ends all sessions that wait for the standby, once there are this many.
    fn terminate(&self, waiting: usize) {
        let from = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let count = format!("SELECT count(*) {from}");
        // The server's own work may wait too.
        until("those that wait for the standby", || {
            self.sql(&count).parse::<usize>().unwrap() >= waiting
        });
        self.sql(&format!("SELECT pg_terminate_backend(pid) {from}"));
    }
}

fn certificate() -> String {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-keyout", "/dev/null", "-subj", "/CN=ca", "-days", "30"])
        .args(["-addext", "basicConstraints=critical,CA:TRUE"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().replace('\n', "\\n")
}

/// Sends two concurrent requests, ends their sessions that wait for the standby, and returns their statuses.
fn interrupted(site: &Site, node: &Node, requests: [&str; 2]) -> [u16; 2] {
    std::thread::scope(|scope| {
        let asked = requests.map(|request| scope.spawn(move || node.ask(request).0));
        site.terminate(requests.len());
        asked.map(|asked| asked.join().unwrap())
    })
}

#[test]
fn a_server_says_that_a_failover_may_lose_what_was_acknowledged() {
    let site = Site::new();
    let _standby = site.server.standby("standby1").unwrap();
    let node = site.node(&["--migrate", "--metrics-listen", "127.0.0.1:0"]);
    let metrics = node.metrics();
    let counts = |standbys: u32, is_unsafe: u32| {
        let (_, _, text) = metrics.ask("GET /metrics");
        for line in [
            format!("keyproof_store_standbys {standbys}"),
            format!("keyproof_store_failover_unsafe {is_unsafe}"),
        ] {
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
    };
    let says = |what: &str| {
        // The server checks every ten seconds.
        until(what, || {
            let (status, _, body) = node.ask("GET /readyz");
            status == 200 && body.lines().eq(what.lines())
        });
    };
    says(
        "ready\nwarning: a failover of the database may lose what was acknowledged: standbys follow it, and no commit waits \
         for one (synchronous_standby_names is empty)",
    );
    counts(1, 1);
    node.wait_until_logged("the store is not safe against a failover");
    site.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby1'");
    site.sql("SELECT pg_reload_conf()");
    says("ready");
    counts(1, 0);
    node.wait_until_logged("the store is safe against a failover again");
}

/// The fence is a commit that waits for the standby, so a command that loses its answer cannot know whether there is one.
#[test]
fn a_move_that_lost_the_answer_to_its_fence_says_how_to_complete_it() {
    let site = Site::new();
    site.document(&["migrate", "--json"]);
    site.add_shop();
    site.sql("ALTER SYSTEM SET synchronous_standby_names = 'nowhere'");
    site.sql("SELECT pg_reload_conf()");
    let to = format!("sqlite:{}", site.path("k.db").display());
    let copy = ["store", "copy", &*site.url, &*to, "--move"];
    let (code, _, complaint) = std::thread::scope(|scope| {
        let moving = scope.spawn(|| site.run(&copy));
        site.terminate(1);
        moving.join().unwrap()
    });
    assert_eq!(code, Some(1), "{complaint}");
    let says = "it may be fenced now, so that its servers answer 503: run this again";
    assert!(complaint.contains(says), "{complaint}");

    site.sql("ALTER SYSTEM SET synchronous_standby_names = ''");
    site.sql("SELECT pg_reload_conf()");
    let (code, _, complaint) = site.run(&copy);
    assert_eq!(code, Some(0), "{complaint}");
}

#[test]
fn what_was_acknowledged_is_there_when_the_synchronous_standby_takes_over() {
    let mut site = Site::new();
    let node = site.node(&["--migrate"]);
    let bearer = format!("Authorization: Bearer {}", site.token(&["certificates"]));
    site.add_shop();
    // shop:correct horse
    let login = "POST /instances/shop/private/token\nAuthorization: Basic c2hvcDpjb3JyZWN0IGhvcnNl\nContent-Type: application/json\n\n{\"scope\":\"all\",\"duration\":{\"d_us\":\"forever\"}}";
    let (status, _, body) = node.ask(login);
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let session = format!(
        "Authorization: Bearer {}",
        answer["access_token"].as_str().unwrap()
    );

    let add = |id: &str| {
        let device = serde_json::json!({
            "otp_device_id": id, "otp_device_description": "till",
            "otp_key": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "otp_algorithm": 1,
        });
        format!("POST {DEVICES}\n{session}\nContent-Type: application/json\n\n{device}")
    };
    let at = |name: &str| format!("{CERTIFICATES}/{name}?api-version=2022-02-05\n{bearer}");
    let put = |name: &str| {
        let certificate = certificate();
        format!(
            "PUT {}\nContent-Type: application/json\n\n{{\"properties\":{{\"certificate\":\"{certificate}\"}}}}",
            at(name)
        )
    };

    let mut standby = site.server.standby("standby1").unwrap();
    site.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby1'");
    site.sql("SELECT pg_reload_conf()");
    assert_eq!(node.ask(&add("kept")).0, 204);
    let (status, _, body) = node.ask(&put("c"));
    assert_eq!(status, 200, "{body}");
    let stored: serde_json::Value = serde_json::from_str(&body).unwrap();
    let tag = stored["etag"].as_str().unwrap();
    let remove = format!("DELETE {}\nIf-Match: {tag}", at("c"));
    standby.kill().unwrap();

    // The first requests change something, and their outcome is unknown. The second ones find it already as requested.
    let again = add("lost");
    for _ in 0..2 {
        let statuses = interrupted(&site, &node, [&again, &remove]);
        assert!(statuses.iter().all(|status| *status >= 500), "{statuses:?}");
    }
    let device = |id: &str| format!("GET {DEVICES}/{id}\n{session}");
    assert_eq!(node.ask(&device("lost")).0, 200, "the primary has it");
    assert_eq!(
        node.ask(&format!("GET {}", at("c"))).0,
        404,
        "the primary has it not"
    );
    drop(node);

    let primary = site.url.clone();
    site.server.kill().unwrap();
    standby.restart().unwrap();
    standby.promote().unwrap();
    site.url = standby.url_of_copy(&primary);
    let node = site.node(&[]);
    assert_eq!(node.ask(&device("kept")).0, 200);
    assert_eq!(
        node.ask(&device("lost")).0,
        404,
        "nobody was told that it is there"
    );
    assert_eq!(
        node.ask(&format!("GET {}", at("c"))).0,
        200,
        "nobody was told that it is gone"
    );
    assert_eq!(node.ask(&again).0, 204);
    assert_eq!(node.ask(&remove).0, 200);
    assert_eq!(node.ask(&remove).0, 204);
}
