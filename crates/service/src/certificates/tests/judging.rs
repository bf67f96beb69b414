//! Decoding and validation of certificates use the bounded queue.

use super::*;
use crate::TooBusy;

#[tokio::test]
async fn while_too_much_is_judged_no_certificate_is_decoded_and_nothing_changes() {
    let bench = bench().await;
    let (ca, busy) = (Ca::new("Example CA"), || StorageError::Busy(TooBusy));
    bench.put("one", &ca, None).await;
    let code = bench.code("one").await;
    let leaf = ca.leaf(&code.digits);
    let (certificates, any, dps) = (bench.certificates(), Precondition::Any, caller("dps"));
    let upload = ca.upload(None);
    let events = bench.told().await;

    let full = certificates.cpu_queue.fill();
    let put = certificates.put(&dps, "two", &any, upload);
    assert_eq!(put.await, Err(Failure::Storage(busy())));
    // The description was read at the upload.
    let got = certificates.get(&dps, "one", &any).await.unwrap();
    assert_eq!(certificates.list(&dps).await, Ok(vec![got]));
    let again = certificates.generate_code(&dps, "one", &any);
    assert_eq!(again.await.err(), Some(Failure::Storage(busy())));
    let verified = bench.verify("one", &leaf).await;
    assert_eq!(verified, Err(Failure::Storage(busy())));
    drop(full);

    assert_eq!(bench.told().await, events);
    assert_eq!(certificates.list(&dps).await.unwrap().len(), 1);
    let verified = bench.verify("one", &leaf).await.unwrap();
    assert_eq!(verified.verification, Verification::Proven);
}
