//! The program: see the library's documentation for the map.

fn main() {}
