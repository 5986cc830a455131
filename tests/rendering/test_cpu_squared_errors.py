import torch

from bayes_splat.rendering import cpu_squared_errors, squared_errors


def test_the_compiled_sums_are_those_of_the_specification():
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(2, 2, 37, 51, 3, generator=generator, requires_grad=True)
    images = torch.rand(2, 37, 51, 3, generator=generator)
    for cell in (1, 7, 32, 64):
        both = [
            function(colors, images, cell)
            for function in (
                cpu_squared_errors.cell_squared_errors,
                squared_errors.reference_cell_squared_errors,
            )
        ]
        torch.testing.assert_close(*both, rtol=1e-13, atol=0)
        slopes = [torch.autograd.grad(sums.sin().sum(), colors)[0] for sums in both]
        torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-7)


def test_the_function_looks_for_the_compiled_sums(monkeypatch):
    called = []

    def noted(colors, images, cell):
        called.append(cell)
        return squared_errors.reference_cell_squared_errors(colors, images, cell)

    monkeypatch.setattr(cpu_squared_errors, "cell_squared_errors", noted)
    one = torch.zeros(1, 1, 2, 2, 3)
    squared_errors.cell_squared_errors(one, one[0], 2)
    assert called == [2]
    squared_errors.cell_squared_errors(one.double(), one[0], 2)
    assert called == [2], "of float32 pictures only"
