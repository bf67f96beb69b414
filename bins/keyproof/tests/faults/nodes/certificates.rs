//! One certificate changed at three nodes: an entity tag is valid for one change, a code for one proof.

use super::{NODES, count};
use crate::{cluster::Cluster, installation::Installation, load::ProvisioningService};

const CROWD: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_tag_has_one_winner() {
    let cluster = Cluster::start(Installation::on_postgres(), NODES);
    let service = ProvisioningService::new("dps", &cluster.installation.token("certificates"));
    let etag = |json: &serde_json::Value| json["etag"].as_str().unwrap().to_owned();
    let mut last = etag(&cluster.send(0, &service.put("c", None)).await.json);
    for round in 0..10 {
        let puts = vec![service.put("c", Some(&last)); CROWD];
        let answers = cluster.race(puts).await;
        assert_eq!(count(&answers, 200, 412), Some(1), "{answers:?}");
        let winner = answers.iter().find(|answer| answer.status == 200);
        last = etag(&winner.unwrap().json);
        let read = cluster.send(round, &service.get("c")).await;
        assert_eq!(etag(&read.json), last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_proves_once() {
    let cluster = Cluster::start(Installation::on_postgres(), NODES);
    let service = ProvisioningService::new("dps", &cluster.installation.token("certificates"));
    cluster.send(0, &service.put("c", None)).await;
    for round in 0..5 {
        let coded = cluster.send(round, &service.generate_code("c", "*")).await;
        let code = coded.json["properties"]["verificationCode"].as_str();
        // With any entity tag, so that only the code matters.
        let proofs = vec![service.verify("c", "*", code.unwrap()); CROWD];
        let answers = cluster.race(proofs).await;
        assert_eq!(count(&answers, 200, 400), Some(1), "{answers:?}");
        let read = cluster.send(round + 1, &service.get("c")).await;
        assert_eq!(read.json["properties"]["isVerified"], true);
    }
}
