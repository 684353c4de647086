//! The suite of checks that every engine of the store passes.
