//! What goes wrong below the contract, in the contract's shape.

use std::sync::atomic::Ordering;

use keyproof_store::{Key, Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::site::{MANAGERS, PREAUTH, Site};

#[tokio::test]
async fn a_store_that_does_not_answer_is_503() {
    let site = Site::start().await;
    site.faults.unreachable.store(true, Ordering::SeqCst);
    let answer = site.get(MANAGERS).await;
    assert_eq!(answer.refuses(503, 14).header("retry-after"), "1");
    site.admin("POST", PREAUTH)
        .body("{}")
        .send()
        .await
        .refuses(503, 14);
    site.faults.unreachable.store(false, Ordering::SeqCst);
    site.get(MANAGERS).await.is(200);
}

#[tokio::test]
async fn a_handler_past_its_deadline_is_504() {
    let site = Site::start_with(vec![("http.handler_timeout_ms", 50.into())]).await;
    site.faults.stall();
    site.get(MANAGERS).await.refuses(504, 4);
    site.faults.go_on();
}

#[tokio::test]
async fn a_damaged_record_is_500_and_its_content_is_not_told() {
    #[derive(Serialize, Deserialize)]
    struct Other {
        hidden: String,
    }
    impl Record for Other {
        const TYPE: &'static str = "other";
        const VERSION: u32 = 1;
    }

    let site = Site::start().await;
    let mut batch = site.store.batch(Timestamp::EPOCH);
    let hidden = "hidden".to_owned();
    batch.insert(
        &Key::new("tpm_manager", ["default", "a"]),
        &Other { hidden },
        None,
    );
    site.store.commit(batch).await.unwrap();
    let answer = site.get(&format!("{MANAGERS}/a")).await;
    answer.refuses(500, 13);
    assert!(!answer.text.contains("hidden"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let site = Site::start_with(vec![("http.max_body_bytes", 10.into())]).await;
    let answer = site
        .admin("POST", PREAUTH)
        .body("{\"api_key\":\"a\"}")
        .send()
        .await;
    answer.refuses(413, 3);
}
