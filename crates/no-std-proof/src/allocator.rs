//! An allocator that has nothing to give: what allocates is linked here, never run.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr,
};

#[global_allocator]
static EMPTY: Empty = Empty;

struct Empty;

// SAFETY: null is how an allocator says that it has nothing left, so no block is ever given out.
unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
