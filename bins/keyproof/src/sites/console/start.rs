//! The first page.

use askama::Template;
use http::StatusCode;

use super::{Answered, Area, Frame, Signed, Visit, render};

#[derive(Template)]
#[template(path = "console/start.html")]
struct Start<'a> {
    frame: &'a Frame,
    scopes: Vec<String>,
    /// The name in the trail of the token that they are signed in with.
    token: String,
}

impl Visit<Signed> {
    pub(super) async fn start(self) -> Answered {
        let operator = self.operator();
        let page = Start {
            frame: &self.frame_in(Area::Start),
            scopes: operator.scopes().map(ToString::to_string).collect(),
            token: operator.who.to_string(),
        };
        render(&page, StatusCode::OK)
    }
}
