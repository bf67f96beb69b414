//! The first page: its contents, and who may see them.

use keyproof::dialect::DialectName;

use crate::{
    emnify::{
        dialect::{ADA, PASSWORD},
        site::Site,
    },
    sites::browser::Browser,
};

#[tokio::test]
async fn it_tells_how_the_server_is_to_whoever_may_know() {
    let site = Site::start().await;
    let (mut ops, _) = Browser::of_operator(&site, &["users-read"]).await;
    ops.sees_not("The last hour");
    ops.sees("status-read");
    // The menu has only areas that the scope allows.
    ops.sees("href=\"/console/users\"");
    ops.sees_not("href=\"/console/audit\"");

    site.password(ADA, PASSWORD).await.is(200);
    site.password(ADA, "wrong horse").await.is(401);
    ops.sign_in_as(&["status-read"]).await;
    for told in [
        "The last hour, on this node",
        "Requests a minute in the last hour",
        "<figcaption>Requests a minute: <span class=\"key answered\">answered</span>",
        "none follow the store",
        "<rect class=\"answered\" x=",
        // Not by its colour alone.
        "<rect class=\"refused\" fill=\"url(#bar-refused)\" x=",
        "<pattern id=\"bar-refused\"",
        "<p class=\"hint\">Up to <time",
        ", named <bdi>test</bdi>",
    ] {
        ops.sees(told);
    }
    for dialect in DialectName::ALL {
        ops.sees(&format!("<span class=\"piece\">{}</span>", dialect.title()));
    }
    ops.sees("data-label=\"Requests\"");
    ops.sees("data-label=\"Refused (4xx)\"");
    // Two by the operators themselves, and Ada's login that was accepted.
    ops.sees("data-label=\"Login steps accepted\">3</td>");
    ops.sees("aria-current=\"page\">Start</a>");
    ops.sees_not("href=\"/console/users\"");
}
