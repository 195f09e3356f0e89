from .exponential import (
    exp_f32,
    exp_f64,
    exp2_f32,
    exp2_f64,
    expm1_f32,
    expm1_f64,
    sigmoid_f32,
    sigmoid_f64,
    sinh_f32,
    sinh_f64,
    cosh_f32,
    cosh_f64,
    tanh_f32,
    tanh_f64,
)
from .logarithm import (
    log_f32,
    log_f64,
    log2_f32,
    log2_f64,
    log10_f32,
    log10_f64,
    log1p_f32,
    log1p_f64,
    asinh_f32,
    asinh_f64,
    acosh_f32,
    acosh_f64,
    atanh_f32,
    atanh_f64,
)
from .trigonometric import sin_f32, sin_f64, cos_f32, cos_f64, sin_bounded_f32, sin_bounded_f64
from .trigonometric import tan_f32, tan_f64, cos_bounded_f32, cos_bounded_f64
from .inverse_trigonometric import (
    asin_f32,
    asin_f64,
    acos_f32,
    acos_f64,
    atan_f32,
    atan_f64,
    atan2_f32,
    atan2_f64,
)
from .error_function import erf_f32, erf_f64, erfc_f32, erfc_f64
from .error_function import erfinv_f32, erfinv_f64
from .power import pow_f32, pow_f64, rsqrt_f32, rsqrt_f64
