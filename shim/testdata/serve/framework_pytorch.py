"""PyTorch, in its runtime."""

import io
import json

import numpy as np
import torch
from harness import Case


class Twice(torch.nn.Module):
    def forward(self, x):
        return x * 2 if not self.training else x * 1000


def saved():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Twice()), file)
    return file.getvalue()


class PyTorch(Case):
    def test_the_default_model_is_torchscript(self):
        for name in ("model.pt", "other.pth"):
            s = self.serve(framework="pytorch", files={"model/" + name: saved()})
            self.assertEqual(json.loads(s.ask("[[1, 2]]")[2]), [[2, 4]])
        npy = io.BytesIO()
        np.save(npy, np.array([[1.5]], dtype="float32"))
        answer = s.ask(npy.getvalue(), "application/x-npy", "application/x-npy")[2]
        self.assertEqual(np.load(io.BytesIO(answer)).tolist(), [[3.0]])
        self.assertEqual(s.ask("1,2", "text/csv", "text/csv")[2], b"2.0,4.0\n")

    def test_a_model_of_the_program_is_asked_without_training_and_gradients(self):
        code = """
            import torch
            class Own(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.w = torch.nn.Parameter(torch.ones(1))
                def forward(self, x):
                    assert not torch.is_grad_enabled()
                    return x * self.w * (1000 if self.training else 3)
            def model_fn(model_dir):
                return Own()
        """
        s = self.serve(code, framework="pytorch")
        self.assertEqual(json.loads(s.ask("[1, 2]")[2]), [3, 6])

    def test_what_is_not_torchscript_says_so(self):
        file = io.BytesIO()
        torch.save({"w": torch.ones(1)}, file)
        s = self.serve(framework="pytorch", files={"model/model.pth": file.getvalue()}, wait=False)
        self.assertEqual(s.wait(), 1)
        self.assertIn("is not TorchScript", s.failure())
        s = self.serve(framework="pytorch", wait=False)
        self.assertEqual(s.wait(), 1)
        self.assertIn("exactly one .pt or .pth file is needed", s.failure())
