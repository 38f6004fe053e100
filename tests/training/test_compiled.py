"""What is compiled trains as what is not, and a compiler that cannot do so is given up."""

import pytest
import torch

from salcompress.models.compression_model import CompressionModel, ModelConfig
from salcompress.training.compiled import Compiled, check_gradients


def moved_model():
    """A small model in which no gradient is 0 because a weight is."""
    torch.manual_seed(0)
    model = CompressionModel(ModelConfig(16, 16, 16, 4, 16, 1, 1, 1, 1)).train()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1)
    model.prior.project()
    return model


def loss_of(call):
    torch.manual_seed(1)
    output = call(torch.rand(2, 3, 64, 64), torch.tensor([7, 50]).view(2, 1, 1, 1))
    bits = output.estimated_bits_1.mean() + output.estimated_bits_2.mean()
    return bits + output.reconstruction.square().mean()


def test_every_gradient_is_the_same():
    """Traced as for a GPU, and computed by torch's own kernels."""
    model, gradients = moved_model(), []
    compiled = Compiled(model, backend="aot_eager")
    for call in (model, compiled):
        model.zero_grad()
        loss_of(call).backward()
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})
    for name, usual in gradients[0].items():
        found = gradients[1][name]
        assert torch.allclose(found, usual, rtol=1e-4, atol=1e-5 * float(usual.norm())), name
    assert compiled._call is not model


def test_a_compiler_that_loses_gradients_is_given_up(capsys):
    model = moved_model()
    compiled = Compiled(model)
    compiled._call = lambda *arguments: (output := model(*arguments))._replace(
        estimated_bits_1=output.estimated_bits_1.detach()
    )
    check_gradients(model, compiled, loss_of)
    assert "gradients were lost" in capsys.readouterr().out and compiled._call is model
    assert all(value.grad is None for value in model.parameters())


def test_one_that_keeps_them_is_kept(capsys):
    model = moved_model()
    compiled = Compiled(model)
    compiled._call = model.forward
    check_gradients(model, compiled, loss_of)
    assert not capsys.readouterr().out and compiled._call is not model


def test_a_compiler_that_fails_is_given_up(capsys):
    model = torch.nn.Linear(2, 3)
    compiled = Compiled(model, backend="eager")

    def fail(*arguments):
        raise RuntimeError("no such target")

    compiled._call = fail
    assert torch.equal(compiled(torch.ones(1, 2)), model(torch.ones(1, 2)))
    assert "compiling them failed: RuntimeError: no such target" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="mat1 and mat2"):  # an error of the network's own
        compiled(torch.ones(1, 5))


@pytest.mark.gpu
def test_every_gradient_is_there_on_a_gpu(capsys):
    model = moved_model().cuda()
    compiled = Compiled(model)

    def loss(call):
        with torch.device("cuda"):
            return loss_of(call)

    check_gradients(model, compiled, loss)
    assert not capsys.readouterr().out and compiled._call is not model
