//! The HTTP/1.1 stack under all dialects.

mod body;
mod deadline;
mod exchange;
mod path;
mod query;
mod refusal;
mod request_id;
mod response;

use body::RequestBody;
pub use exchange::Exchange;
pub use path::{PathError, RequestPath, SegmentFault};
pub use query::Query;
pub use refusal::StackRefusal;
pub use request_id::RequestId;
pub use response::{Response, json};
