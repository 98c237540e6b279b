"""Records that pass between acting, learning and evaluation."""
