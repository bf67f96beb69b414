use std::{
    any::Any,
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

/// The bytes of a record. Its clones share them, and what they were read as, so that a record which is kept in memory is read
/// from its JSON once and not at each use.
///
/// The bytes never change, and what is kept beside them is what they say: it cannot be of another state.
#[derive(Clone, Default)]
pub struct Body(Arc<Shared>);

#[derive(Default)]
struct Shared {
    bytes: Box<[u8]>,
    /// The record, as the type that it was first read as.
    read: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Body {
    /// What these bytes were read as, if it was an `R`.
    pub(crate) fn as_read<R: Any + Send + Sync>(&self) -> Option<Arc<R>> {
        Arc::clone(self.0.read.get()?).downcast().ok()
    }

    /// Keeps what the bytes were read as, for whoever shares them: nobody yet means nobody will.
    pub(crate) fn keep<R: Any + Send + Sync>(&self, record: &Arc<R>) {
        if Arc::strong_count(&self.0) > 1 {
            // The first one stands; it is the same, unless it is of another type.
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
