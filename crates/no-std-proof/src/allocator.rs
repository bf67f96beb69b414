//! An allocator that always fails. What allocates is only linked here, never run.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr,
};

#[global_allocator]
static EMPTY: Empty = Empty;

struct Empty;

// SAFETY: null means that the allocation failed, so no block is ever returned.
unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
