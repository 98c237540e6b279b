"""Meta-World's classes of tasks, families of which share a file."""

from envs.metaworld.classes.boxes import BinPicking, BoxClose, PickOutOfHole
from envs.metaworld.classes.buttons import (
    ButtonPress,
    ButtonPressTopdown,
    ButtonPressTopdownWall,
    ButtonPressWall,
    CoffeeButton,
)
from envs.metaworld.classes.doors import DoorClose, DoorLock, DoorOpen, DoorUnlock
from envs.metaworld.classes.handles import HandlePress, HandlePressSide, HandlePull, HandlePullSide, LeverPull
from envs.metaworld.classes.pegs import PegInsertSide, PegUnplugSide
from envs.metaworld.classes.placing import Basketball, HandInsert, PickPlace, PickPlaceWall, ShelfPlace
from envs.metaworld.classes.plates import PlateSlide, PlateSlideBack, PlateSlideBackSide, PlateSlideSide
from envs.metaworld.classes.pushing import CoffeePull, CoffeePush, Push, PushBack, PushWall, Soccer, Sweep, SweepInto
from envs.metaworld.classes.reaching import Reach, ReachWall
from envs.metaworld.classes.sliding import DrawerClose, DrawerOpen, WindowClose, WindowOpen
from envs.metaworld.classes.sticks import StickPull, StickPush
from envs.metaworld.classes.tools import Assembly, Disassemble, Hammer
from envs.metaworld.classes.turning import DialTurn, FaucetClose, FaucetOpen
from envs.metaworld.task_class import TaskClass

TASK_CLASSES: dict[str, TaskClass] = {
    task_class.name: task_class()
    for task_class in (
        Push,
        Reach,
        ReachWall,
        PickPlace,
        PickPlaceWall,
        ShelfPlace,
        HandInsert,
        Basketball,
        BinPicking,
        PickOutOfHole,
        BoxClose,
        ButtonPress,
        ButtonPressTopdown,
        ButtonPressTopdownWall,
        ButtonPressWall,
        CoffeeButton,
        HandlePress,
        HandlePressSide,
        HandlePull,
        HandlePullSide,
        LeverPull,
        DialTurn,
        DoorClose,
        DoorLock,
        DoorOpen,
        DoorUnlock,
        DrawerClose,
        DrawerOpen,
        FaucetClose,
        FaucetOpen,
        WindowClose,
        WindowOpen,
        PushBack,
        PushWall,
        Sweep,
        SweepInto,
        Soccer,
        CoffeePush,
        CoffeePull,
        PlateSlide,
        PlateSlideSide,
        PlateSlideBack,
        PlateSlideBackSide,
        Assembly,
        Disassemble,
        Hammer,
        StickPush,
        StickPull,
        PegInsertSide,
        PegUnplugSide,
    )
}
"""Every class by Meta-World's name."""
