"""The recipe's training: a run that was stopped goes on as if it had not been."""

import pytest
import torch

from calibrate.reference import train

RECIPE = train.Recipe(tokens=6 * 2 * train.CONTEXT, batch=2, checkpoint_every=2)


def tiny():
    config = train._config(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    return train.new_model(config, 0, "cpu")


def blocks(stop_at=None):
    generator = torch.Generator().manual_seed(0)
    for step in range(RECIPE.steps):
        if step == stop_at:
            raise KeyboardInterrupt
        yield torch.randint(4_096, (RECIPE.batch, train.CONTEXT + 1), generator=generator)


def test_a_stopped_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole, stopped, resumed = tiny(), tiny(), tiny()
    start = [p.detach().clone() for p in whole.parameters()]
    loss = train.train(whole, blocks(), train.next_token_loss, RECIPE, tmp_path / "whole", "cpu")
    with pytest.raises(KeyboardInterrupt):  # at step 5, after the checkpoint of step 4
        train.train(stopped, blocks(stop_at=5), train.next_token_loss, RECIPE, tmp_path / "part", "cpu")
    assert train.train(resumed, blocks(), train.next_token_loss, RECIPE, tmp_path / "part", "cpu") == pytest.approx(
        loss
    )
    for a, b, before in zip(whole.parameters(), resumed.parameters(), start, strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, before)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    train.train(tiny(), blocks(), train.next_token_loss, RECIPE, tmp_path, "cpu")
    other = train.Recipe(tokens=RECIPE.tokens, batch=2, lr=1e-3)
    with pytest.raises(ValueError, match="was made by another recipe"):
        train.train(tiny(), blocks(), train.next_token_loss, other, tmp_path, "cpu")
