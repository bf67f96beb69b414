//! Nodes that connect to the database through PgBouncer.

use keyproof_peer_postgres::Pooler;

use super::{Site, until};

#[test]
fn a_pooler_in_transaction_mode_is_named_at_the_start_and_by_readyz() {
    let mut site = Site::new();
    let mut pooler = Pooler::before(&site.server, &["pool_mode=transaction"]).unwrap();
    site.url = pooler.url(&site.url);
    let migrated = site.document(&["migrate", "--json"]);
    assert_eq!(migrated["to"], 1);
    let serve = &["serve", "--listen", "127.0.0.1:0"][..];
    for command in [serve, &["instance", "list"]] {
        let complaint = site.fails(&mut site.command(command), 2, "pool_mode = session");
        assert!(complaint.contains("pooler"), "{complaint}");
    }

    pooler.restart_with(&["pool_mode=session"]).unwrap();
    let node = site.node(&[]);
    assert_eq!(node.ask("GET /readyz").0, 200);
    assert_eq!(node.ask("GET /instances/default/config").0, 200);
    pooler.restart_with(&["pool_mode=transaction"]).unwrap();
    until("the pooler's mode is named", || {
        let (status, _, body) = node.ask("GET /readyz");
        assert!(status == 503 || body == "ready\n", "{body}");
        body.contains("pool_mode = session")
    });
    pooler.restart_with(&["pool_mode=session"]).unwrap();
    node.wait_until_ready();
    assert_eq!(node.ask("GET /instances/default/config").0, 200);
}
