//! What of a `config.json` counts. A field that would change what is computed and isn't known here is refused.

use super::wrong;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// The language model.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    model_type: String,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    #[serde(default = "norm_eps")]
    pub(super) layer_norm_eps: f32,
    #[serde(default = "rope_theta")]
    pub(super) rope_theta: f32,
    #[serde(default)]
    pub(super) token_dropout: bool,
    position_embedding_type: Option<String>,
    #[serde(default)]
    emb_layer_norm_before: Option<bool>,
    pub(super) mask_token_id: Option<u32>,
    /// What makes ESMFold of it.
    pub(super) esmfold_config: Option<Folding>,
}

/// What ESMFold adds.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Folding {
    #[serde(default = "yes")]
    pub(super) embed_aa: bool,
    #[serde(default)]
    esm_ablate_sequence: bool,
    #[serde(default)]
    bypass_lm: bool,
    #[serde(default)]
    use_esm_attn_map: bool,
    pub(super) lddt_head_hid_dim: usize,
    pub(super) trunk: Trunk,
}

/// The trunk.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Trunk {
    pub(super) num_blocks: usize,
    pub(super) sequence_state_dim: usize,
    pub(super) pairwise_state_dim: usize,
    pub(super) sequence_head_width: usize,
    pub(super) pairwise_head_width: usize,
    pub(super) position_bins: usize,
    pub(super) max_recycles: usize,
    pub(super) structure_module: Structure,
}

/// The structure module.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Structure {
    pub(super) sequence_dim: usize,
    pub(super) pairwise_dim: usize,
    pub(super) ipa_dim: usize,
    pub(super) resnet_dim: usize,
    pub(super) num_heads_ipa: usize,
    pub(super) num_qk_points: usize,
    pub(super) num_v_points: usize,
    pub(super) num_blocks: usize,
    pub(super) num_transition_layers: usize,
    pub(super) num_resnet_blocks: usize,
    pub(super) num_angles: usize,
    pub(super) trans_scale_factor: f32,
    pub(super) epsilon: f32,
}

fn norm_eps() -> f32 {
    1e-12
}

fn rope_theta() -> f32 {
    10_000.0
}

fn yes() -> bool {
    true
}

/// No size of a model that is known is above this; a damaged one may be.
const LARGEST: usize = 1 << 20;

impl Config {
    /// Reads a folder's.
    pub(super) fn read(folder: &Path) -> Result<Self, nn::Error> {
        let path = folder.join("config.json");
        let at = |what: String| wrong(format!("{}: {what}", path.display()));
        let text = fs::read(&path).map_err(|error| at(error.to_string()))?;
        let config: Self = serde_json::from_slice(&text).map_err(|error| at(error.to_string()))?;
        config.check().map_err(at)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.model_type != "esm" {
            return Err(format!(
                "model_type is {:?}: only esm can be run here",
                self.model_type
            ));
        }
        let position = self.position_embedding_type.as_deref().unwrap_or("absolute");
        if position != "rotary" || self.emb_layer_norm_before == Some(true) {
            return Err(format!(
                "position_embedding_type is {position:?}, emb_layer_norm_before {:?}: only ESM-2, with rotary \
                 positions and no norm in front, can be run here",
                self.emb_layer_norm_before
            ));
        }
        let divides = |field: &str, width: usize, parts: usize, even: bool| {
            let fits = (1..=LARGEST).contains(&width) && (1..=width).contains(&parts);
            let fits = fits && width.is_multiple_of(parts) && (!even || (width / parts).is_multiple_of(2));
            fits.then_some(())
                .ok_or(format!("{field} is {parts}, which doesn't divide {width}"))
        };
        divides(
            "num_attention_heads",
            self.hidden_size,
            self.num_attention_heads,
            true,
        )?;
        let small = |field: &str, value: usize, least: usize| {
            let fits = (least..=LARGEST).contains(&value);
            fits.then_some(())
                .ok_or(format!("{field} is {value}: it should be {least} to {LARGEST}"))
        };
        small("vocab_size", self.vocab_size, 33)?;
        small("num_hidden_layers", self.num_hidden_layers, 1)?;
        small("intermediate_size", self.intermediate_size, 1)?;
        let Some(folding) = &self.esmfold_config else {
            return Ok(());
        };
        if folding.esm_ablate_sequence || folding.bypass_lm || folding.use_esm_attn_map {
            return Err(
                "esmfold_config leaves out the language model or wants its attention maps".to_owned(),
            );
        }
        let trunk = &folding.trunk;
        let (s, z) = (trunk.sequence_state_dim, trunk.pairwise_state_dim);
        divides("sequence_head_width", s, trunk.sequence_head_width, false)?;
        divides("pairwise_head_width", z, trunk.pairwise_head_width, false)?;
        divides("half of pairwise_state_dim", z, 2, false)?;
        let own = &trunk.structure_module;
        if own.num_angles < 3 {
            return Err(format!("num_angles is {}: psi is the third", own.num_angles));
        }
        for (field, value) in [
            ("lddt_head_hid_dim", folding.lddt_head_hid_dim),
            ("num_blocks", trunk.num_blocks),
            ("position_bins", trunk.position_bins),
            ("max_recycles", trunk.max_recycles),
            ("sequence_dim", own.sequence_dim),
            ("pairwise_dim", own.pairwise_dim),
            ("ipa_dim", own.ipa_dim),
            ("resnet_dim", own.resnet_dim),
            ("num_heads_ipa", own.num_heads_ipa),
            ("num_qk_points", own.num_qk_points),
            ("num_v_points", own.num_v_points),
            ("num_blocks of the structure module", own.num_blocks),
        ] {
            small(field, value, 1)?;
        }
        Ok(())
    }
}
