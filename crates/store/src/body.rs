use std::{
    any::Any,
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

/// The bytes of a record. Clones share the bytes and their decoded value, so that a record kept in memory is decoded
/// from its JSON once instead of at each use.
///
/// The bytes never change, so the decoded value cannot go stale.
#[derive(Clone, Default)]
pub struct Body(Arc<Shared>);

#[derive(Default)]
struct Shared {
    bytes: Box<[u8]>,
    /// The decoded record, of the type that it was first decoded as.
    read: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Body {
    /// Returns the decoded value, if it was decoded as an `R`.
    pub(crate) fn as_read<R: Any + Send + Sync>(&self) -> Option<Arc<R>> {
        Arc::clone(self.0.read.get()?).downcast().ok()
    }

    /// Stores the decoded value for the other clones. Does nothing if there are none.
    pub(crate) fn keep<R: Any + Send + Sync>(&self, record: &Arc<R>) {
        if Arc::strong_count(&self.0) > 1 {
            // The first value stays; a second one is equal, unless it is of another type.
            let _ = self.0.read.set(Arc::clone(record) as _);
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Shared {
            bytes: bytes.into(),
            read: OnceLock::new(),
        }))
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Body> for Vec<u8> {
    fn from(body: Body) -> Self {
        body.to_vec()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Body {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_what_was_read_and_equal_bytes_do_not() {
        let body = Body::from("1");
        let one = Arc::new(1_u32);
        body.keep(&one);
        assert_eq!(body.as_read::<u32>(), None, "nobody shares it");
        let clone = body.clone();
        clone.keep(&one);
        assert!(Arc::ptr_eq(&body.as_read::<u32>().unwrap(), &one));
        assert_eq!(body.as_read::<i64>(), None, "it was read as another type");
        body.keep(&Arc::new(1_i64));
        assert_eq!(
            (body.as_read::<u32>(), body.as_read::<i64>()),
            (Some(one), None)
        );
        let same = Body::from("1");
        assert_eq!(same, body);
        assert_eq!(same.as_read::<u32>(), None);
    }
}
