"""Records of steps and episodes, passed between acting, learning and evaluation."""
