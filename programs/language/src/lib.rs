//! The programme language: text to tokens to a language model.
